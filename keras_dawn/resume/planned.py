"""What a plan does in each epoch, and how another process plans otherwise."""

import itertools

from keras_dawn.foundation import keras_fit

_RATES = ("learning_rate", "momentum", "weight_decay")
_OF_AN_EPOCH = ("image_size", "batch_size", "crops")  # which an epoch has to keep to its end


def describe_plan(iterator):
    """What each epoch of a `fit_plan` uses, a dict of lists; `None` of other trainings.

    Args:
        iterator: the `EpochIterator` of the `fit`.
    """
    source = keras_fit.data_of(iterator)[1]
    if not type(source).__module__.startswith("keras_dawn.") or not hasattr(source, "planned"):
        return None
    plain = source.planned().items()
    return {name: [list(e) if isinstance(e, tuple) else e for e in each] for name, each in plain}


def changed_plan(then, now, epoch):
    """`(words, decides)` of what a plan does otherwise than the one before.

    Args:
        then, now: what `describe_plan` returned in the two processes.
        epoch: int, the one to go on in; `decides` says that it would be another one.
    """
    if then is None or now is None:
        return []
    changed = []
    for name in dict.fromkeys([*then, *now]):
        old, new = then.get(name, []), now.get(name, [])
        if old == new:
            continue
        if name in _RATES:
            changed += [(words, False) for words in _changed_rates(name, old, new)]
        else:
            decides = name in _OF_AN_EPOCH and old[epoch : epoch + 1] != new[epoch : epoch + 1]
            words = f"{name} of the epochs {_runs(old)} → {_runs(new)}"
            changed.append((words, decides and epoch < len(new)))
    return changed


def _changed_rates(name, old, new):
    """The first epoch whose values are others, and the highest of all."""
    if not old or not new:
        return [f"{name} {'as planned' if old else 'as compiled'} → as "
                f"{'planned' if new else 'compiled'}"]  # fmt: skip
    for number, (before, after) in enumerate(zip(old, new, strict=False)):
        if before != after:
            highest = " → ".join(f"{max(map(max, each)):.4g}" for each in (old, new))
            spans = [f"{each[0]:.4g} to {each[-1]:.4g}" for each in (before, after)]
            within = "another curve of " if spans[0] == spans[1] else ""
            values = within + " → ".join(dict.fromkeys(spans))
            return [f"{name} from epoch {number + 1} on {values} (highest {highest})"]
    return []  # the same as far as both go, and `epochs` is named


def _runs(values):
    """`16 ×2, 24 ×3`."""
    runs = [(value, len(list(same))) for value, same in itertools.groupby(values)]
    return ", ".join(f"{value} ×{count}" for value, count in runs)
