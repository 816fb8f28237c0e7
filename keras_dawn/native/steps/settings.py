"""What the Python of a step reads, as values that can be compared: a CUDA graph freezes them."""

import numpy as np
import torch

_NUMBERS = (bool, int, float, str, type(None), np.generic)
_LONGEST = 256  # of what is compared item by item: an AUC's thresholds


def settings_of(thing, without=(), held=()):
    """The settings of an optimizer, a loss, a metric or a regularizer.

    What is no number, string or short list of such counts as the object it is, tensors with what
    was written to them.

    Args:
        thing: object with attributes.
        without: names whose values do not matter, as attributes of theirs or with `_` before.
        held: tensors whose contents do not matter.
    """
    return tuple(
        (name, frozen(value))
        for name, value in vars(thing).items()
        if name not in without
        and name.removeprefix("_") not in without
        and not any(value is one for one in held)
    )


def frozen(value):
    """A value that is equal to another one where a step would do the same with both."""
    if isinstance(value, _NUMBERS):
        return value
    if isinstance(value, torch.Tensor):
        return Same(value), value._version
    if isinstance(value, (list, tuple)) and len(value) <= _LONGEST:
        if all(isinstance(item, _NUMBERS) for item in value):
            return tuple(value)
    elif isinstance(value, dict) and len(value) <= _LONGEST:  # noqa: SIM102
        if all(isinstance(item, _NUMBERS) for item in value.values()):
            return tuple(value.items())
    return Same(value)


class Same:
    """An object that is equal to itself only; it is kept, so that no other gets its place."""

    __slots__ = ("_it",)

    def __init__(self, it):
        self._it = it

    def __eq__(self, other):
        return type(other) is Same and self._it is other._it

    def __hash__(self):
        return id(self._it)
