"""What a lowering read of the layers, to know whether it still holds.

A rule reads settings of its layer: a rate, an activation, a stride. Plain Keras reads them at
every call, so a lowering must be made anew when one of them has changed. Rules are handed a
`Recorded` layer, which notes every attribute that is read with its value.
"""

import types
from itertools import repeat
from operator import is_

from keras_dawn.foundation import keras_layers
from keras_dawn.foundation.keras_properties import deciding

import keras
import numpy as np

_MISSING = object()
_CALL = object()
_MOST_NUMBERS = 1 << 12
_BY_VALUE = (
    bool, int, float, complex, str, bytes, tuple, list, dict, set, frozenset, type(None),
    types.MethodType, np.generic,
)  # fmt: skip


class Reads:
    """Attributes that were read, with the values they had."""

    def __init__(self):
        # (id of the object, name) → (object, name, value); the object keeps its id taken
        self._seen = {}
        self._values = self._same = None
        self._missing = ()
        self._config = _config()

    def note(self, owner, name, value):
        """Remembers what `owner.name` is."""
        value = _kept(value)  # the rule's own copy stays what it was
        self._seen.setdefault((id(owner), name), (owner, name, value))
        self._values = None

    def attribute(self, owner, name):
        """What `owner.name` is, `None` if there is none; either is remembered."""
        value = getattr(owner, name, _MISSING)
        self.note(owner, name, value)
        return None if value is _MISSING else value

    def note_call(self, layer):
        """Remembers what is hung into a layer's call: hooks, another `call`, a regularizer."""
        settings = keras_layers.CallSettings(layer)
        self._seen.setdefault((id(layer), _CALL), (settings, "now", settings.now))
        self._values = None

    def are_current(self):
        """Whether every attribute still has the value that was read."""
        # Asked before every step and every call of a layer, so most of it is one loop in C.
        if _config() != self._config:
            return False
        if self._values is None:
            self._sort()
        for space, name in self._missing:
            if name in space:
                return False
        owners, names, values = self._same
        found = map(getattr, owners, names, repeat(_MISSING))
        if not all(map(is_, found, values)) and not all(map(_is_still, owners, names, values)):
            return False
        return not self._values or all(map(_is_still, *zip(*self._values, strict=True)))

    def _sort(self):
        values, missing = {}, []
        for owner, name, value in self._seen.values():
            kind = keras_layers.class_of(owner)
            if value is _MISSING and isinstance(owner, keras.Layer) and not hasattr(kind, name):
                # Layers are slow to say that they have no such attribute.
                missing += [(space, name) for space in keras_layers.namespaces(owner)]
                continue
            instead = isinstance(owner, keras.Layer) and deciding(owner, name, value)
            for attribute, known in instead or ((name, value),):
                values.setdefault((id(owner), attribute, id(known)), (owner, attribute, known))
        # Apart those that are made anew whenever they are read, such as methods.
        anew, same = [], []
        for each in values.values():
            owner, name, value = each
            (same if getattr(owner, name, _MISSING) is value else anew).append(each)
        self._same = tuple(zip(*same, strict=True)) or ((), (), ())
        self._values, self._missing = tuple(anew), tuple(missing)


class Recorded:
    """Stands for a layer: gives its attributes and notes them in `Reads`."""

    __slots__ = ("_reads", "_recorded")

    def __init__(self, recorded, reads):
        object.__setattr__(self, "_recorded", recorded)
        object.__setattr__(self, "_reads", reads)

    def __getattr__(self, name):
        owner = object.__getattribute__(self, "_recorded")
        value = getattr(owner, name, _MISSING)
        object.__getattribute__(self, "_reads").note(owner, name, value)
        if value is _MISSING:
            raise AttributeError(f"{type(owner).__name__} has no attribute {name!r}.")
        return value

    def __setattr__(self, name, value):
        setattr(object.__getattribute__(self, "_recorded"), name, value)

    @property
    def __class__(self):  # for isinstance
        return type(object.__getattribute__(self, "_recorded"))

    def __repr__(self):
        return repr(object.__getattribute__(self, "_recorded"))


def unrecorded(layer):
    """The layer itself, where a rule kept the `Recorded` one."""
    if type(layer) is Recorded:
        return object.__getattribute__(layer, "_recorded")
    return layer


def _config():
    """What rules read of Keras itself, and whether torch's hooks are hung into all calls."""
    config, hooks = keras.config, keras_layers.hooks_of_all()
    return config.epsilon(), config.floatx(), config.image_data_format(), hooks


def _kept(value):
    """A value with copies of the containers in it, which may be changed in place."""
    if isinstance(value, np.ndarray) and _is_small(value):
        return value.copy()
    if isinstance(value, dict):
        kept = type(value)(value)
        kept.update({key: _kept(part) for key, part in value.items()})
        return kept
    if isinstance(value, (list, set)):
        return type(value)(map(_kept, value) if isinstance(value, list) else value)
    if type(value) is tuple:
        kept = tuple(map(_kept, value))
        same = all(part is copy for part, copy in zip(value, kept, strict=True))
        return value if same else kept
    return value


def _is_still(owner, name, value):
    return _are_alike(getattr(owner, name, _MISSING), value)


def _equal(now, value):
    # Tensors compare by identity: `==` of them is no bool, and waits for the device.
    if type(now) is not type(value):
        return False
    if isinstance(value, np.ndarray):
        return _is_small(value) and now.dtype == value.dtype and np.array_equal(now, value)
    if not isinstance(value, _BY_VALUE):
        return False
    if isinstance(value, (list, tuple)):
        return len(now) == len(value) and all(map(_are_alike, now, value))
    if isinstance(value, dict):
        same = now.keys() == value.keys()
        return same and all(_are_alike(now[key], value[key]) for key in value)
    try:
        return bool(now == value)
    except (ValueError, TypeError, RuntimeError):
        return False


def _are_alike(now, value):
    return now is value or _equal(now, value)


def _is_small(array):
    """Whether an array is a setting, which is compared by its numbers, and no table of data."""
    return array.size <= _MOST_NUMBERS and not array.dtype.hasobject
