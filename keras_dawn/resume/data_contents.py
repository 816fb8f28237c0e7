"""Whether the data of a training is the one that it began with."""

import hashlib
import re

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_fit
from keras_dawn.foundation.data_content import contents_of

import keras
import numpy as np
import torch

WEIGHTS = "sample weights"
_ARRAYS = ("inputs", "targets", WEIGHTS)
_SAMPLED = 4096  # numbers of an array that tell its content
_TRANSFORMS = re.compile("(^|[/:])transforms/by_epoch/[0-9]+$")  # `data_settings` names each


def contents_of_arrays(iterator):
    """What tells the arrays of a `fit` apart from others: `{"inputs": digest}`, targets, weights.

    `None` of other data, and of arrays that are not of numbers.
    """
    arrays = keras_fit.arrays_of(iterator)
    if arrays is None:
        return None
    given = arrays[0] if isinstance(arrays[0], tuple) else (arrays[0],)
    return {name: _digest(part) for name, part in zip(_ARRAYS, given, strict=False)}


def changed_arrays(then, now):
    """Which of what `contents_of_arrays` has told, in two descriptions, are others."""
    old, new = then.get("arrays"), now["arrays"]
    if None in (old, new):
        return []
    nothing = _digest(None)
    pairs = [(name, old.get(name, nothing), new.get(name, nothing)) for name in _ARRAYS]
    return [name for name, a, b in pairs if None not in (a, b) and a != b]


def _digest(arrays):
    digest = hashlib.sha256()
    for array in keras.tree.flatten(arrays):
        if isinstance(array, torch.Tensor):
            flat = array.detach().reshape(-1)
            sample = flat[:: 1 + len(flat) // _SAMPLED].cpu().float().numpy()
        elif isinstance(array, np.ndarray) and array.dtype.kind in "biuf":
            sample = array.reshape(-1)[:: 1 + array.size // _SAMPLED].astype(np.float32)
        elif array is None:
            continue
        else:
            return None
        digest.update(sample.tobytes())
    return digest.hexdigest()[:12]


def describe_contents(iterator, validation):
    """Digests of what the data and that to validate on hold: `{which: {name: digest}}`.

    What differs between the ranks, as each has files of its own, is left out: there may be other
    ranks in another life.

    Args:
        iterator: the `EpochIterator` of the `fit`, as the training begins.
        validation: what `fit` validates on, or `None`.
    """
    arrays = keras_fit.arrays_of(iterator) is not None  # which `contents_of_arrays` tells
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
    put_back = put_back_names(state, which)
    return [
        (name or "data", old, now[which][name])
        for name, old in state["description"]["contents"][which].items()
        if now[which].get(name, old) != old
        and not put_back & ways(name)
        and not _TRANSFORMS.search(name)
    ]


def put_back_names(state, which):
    """Names of what a checkpoint puts back into the data, or into that to validate on."""
    names = set()
    for position in state["data"]:
        noted = position["now"][which]
        more = [noted.get(name, ()) for name in ("__gone__", "__links__", "__new__")]
        names.update(noted, *more)
    return names


def ways(name):
    """A name, and those of all that it is in."""
    parts = name.split("/")
    return {"/".join(parts[: number + 1]) for number in range(len(parts))}
