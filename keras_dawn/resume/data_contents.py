"""Whether the data of a training is the one that it began with."""

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_fit
from keras_dawn.foundation.data_content import contents_of


def describe_contents(iterator, validation):
    """Digests of what the data and that to validate on hold: `{which: {name: digest}}`.

    What differs between the ranks, as each has files of its own, is left out: there may be other
    ranks in another life.

    Args:
        iterator: the `EpochIterator` of the `fit`, as the training begins.
        validation: what `fit` validates on, or `None`.
    """
    arrays = keras_fit.arrays_of(iterator) is not None  # which `described_settings.content` tells
    source = None if arrays else keras_fit.data_of(iterator)[1]
    own = {"data": contents_of(source), "validation": contents_of(validation)}
    if not current().several:
        return own
    every = gather(own)
    return {
        which: {
            name: digest
            for name, digest in found.items()
            if all(other[which].get(name) == digest for other in every)
        }
        for which, found in own.items()
    }


def changed_contents(state, now, which):
    """`(name, old, new)` of what is another one than in the process before.

    What a checkpoint puts back, such as a list that is shuffled, may begin as it likes.

    Args:
        state: dict, the checkpoint.
        now: what `describe_contents` returned in this process.
        which: `"data"` or `"validation"`.
    """
    put_back = set()
    for position in state["data"]:
        noted = position["now"][which]
        more = [noted.get(name, ()) for name in ("__gone__", "__links__", "__new__")]
        put_back.update(noted, *more)
    return [
        (name or "data", old, now[which][name])
        for name, old in state["description"]["contents"][which].items()
        if now[which].get(name, old) != old and not put_back & _ways(name)
    ]


def _ways(name):
    """A name, and those of all that it is in."""
    parts = name.split("/")
    return {"/".join(parts[: number + 1]) for number in range(len(parts))}
