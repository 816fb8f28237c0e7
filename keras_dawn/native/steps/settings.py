"""What the Python of a step reads, as values that can be compared: a CUDA graph freezes them."""

import numpy as np
import torch

_NUMBERS = (bool, int, float, str, type(None), np.generic)
_CHANGEABLE = (list, tuple, dict, np.ndarray, torch.Tensor)  # in place, or what is in them
_MOST = 16  # of a dict's items that are looked at: arguments, not all variables by name
_DEEPEST = 4  # of lists in lists


class Settings:
    """The settings of an optimizer, a loss, a metric or a regularizer, looked at in every step.

    Numbers and strings are compared, also in lists, dicts and arrays, and tensors with what was
    written to them. Anything else counts as the object it is, and so does a list that begins with
    such a thing: an optimizer has hundreds of variables in its lists.

    Args:
        thing: object with attributes.
        held: tensors among them whose contents do not matter.
    """

    def __init__(self, thing, held=()):
        self._thing = thing
        self._held = list(held)
        self._count = self._frozen = self._without = None

    def __call__(self, without=()):
        """A tuple that is equal to another one where the settings are; the last one, if it is.

        Args:
            without: names of attributes whose values do not matter, with or without a leading `_`.
        """
        now = vars(self._thing)
        if (
            # By identity first, which costs least: settings hardly ever change.
            len(now) != self._count
            or self._without != list(without)
            or any(now.get(name, self) is not value for name, value in self._watched)
            or any(frozen(value) != before for value, before in self._changeable)
        ):
            self._look(now, list(without))
        return self._frozen

    def _look(self, now, without):
        self._count, self._without = len(now), without
        self._watched = [
            (name, value)
            for name, value in now.items()
            if name not in without
            and name.removeprefix("_") not in without
            and not any(value is tensor for tensor in self._held)
        ]
        values = [value for _, value in self._watched if isinstance(value, _CHANGEABLE)]
        self._changeable = [(value, frozen(value)) for value in values]
        self._frozen = tuple((name, frozen(value)) for name, value in self._watched)


def frozen(value, depth=0):
    """A value that is equal to another one where a step would do the same with both."""
    if isinstance(value, _NUMBERS):
        return value
    if isinstance(value, torch.Tensor):
        return Same(value), None if value.is_inference() else value._version
    if isinstance(value, np.ndarray):
        # Its bytes: whoever writes to an array tells nobody.
        return value.dtype.str, value.shape, value.tobytes()
    if depth < _DEEPEST and isinstance(value, (list, tuple)):
        if all(issubclass(kind, _NUMBERS) for kind in set(map(type, value[:1]))):
            if all(issubclass(kind, _NUMBERS) for kind in set(map(type, value))):
                return tuple(value)
        elif not isinstance(value[0], _CHANGEABLE):
            return Same(value)
        return tuple(frozen(item, depth + 1) for item in value)
    if depth < _DEEPEST and isinstance(value, dict) and len(value) <= _MOST:
        return tuple((key, frozen(item, depth + 1)) for key, item in value.items())
    return Same(value)


class Same:
    """An object that equals itself only; it is kept alive, so that no other one gets its id."""

    __slots__ = ("_it",)

    def __init__(self, it):
        self._it = it

    def __eq__(self, other):
        return type(other) is Same and self._it is other._it

    def __hash__(self):
        return id(self._it)
