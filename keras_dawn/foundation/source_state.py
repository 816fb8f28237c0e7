"""What data for `fit` keeps in itself: random generators, shuffled lists, counts of epochs."""

import hashlib
import types
from collections.abc import Iterator

from keras_dawn.foundation.plain_state import from_plain, to_plain
from keras_dawn.foundation.random_state import generator_state

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader

_DEPTH = 6  # objects within objects that are looked into
_SAMPLE = 4096  # values of a large array by which a change of it is noticed
_NOT_LOOKED_INTO = (
    torch.nn.Module, keras.Layer, keras.optimizers.Optimizer, keras.metrics.Metric, type,
    types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType,
    torch.dtype, torch.device, np.dtype,
)  # fmt: skip
_PLAIN = (bool, int, float, str, bytes, type(None))


class SourceState:
    """The state of a data source: all that changes in it from one pass to another.

    Found are random generators (torch's, NumPy's, Python's), what has `state_dict` and
    `load_state_dict`, and the numbers, strings, arrays, tensors and lists among the attributes
    of the source, its sampler, its transforms and whatever else it holds. Those are kept
    that have changed since this object was made.

    Args:
        source: what was given to `fit`, or `None`.

    Attributes:
        reads_on: bool, whether an iterator is among it, whose place cannot be saved.
        generators: set of str, which of the names that `now` uses are random generators.
    """

    def __init__(self, source):
        self.reads_on, self.generators = False, set()
        self._holders, self._seen = [], set()
        self._look(source, (), 0)
        self._first = {path: _mark(get()) for path, get, _, _ in self._holders}
        self._originals = {}  # copies of what was put back over
        self._orders = {path: list(get()) for path, get, _, kind in self._holders if kind == "list"}

    def now(self):
        """What has changed, as plain data, by the names of the attributes on the way."""
        found = {}
        for path, get, _, kind in self._holders:
            value, name = get(), "/".join(path)
            if kind == "state":
                found[name] = to_plain(value, f"the data ({name})")
            elif _mark(value) != self._first[path]:
                found[name] = self._changed(path, value, kind)
        return found

    def put_back(self, state):
        """Puts back what `now` returned, in another process too."""
        for path, get, put, kind in self._holders:
            name = "/".join(path)
            if name not in state:  # it was then as it had been at first
                self._put_first(path, get, put, kind)
                continue
            saved = state[name]
            if kind in ("list", "array") and _mark(get()) == self._first[path]:
                self._originals[path] = _copied(get())
            if kind == "list":
                value = get()
                if saved["order"] is None:
                    value[:] = from_plain(saved["values"])
                else:
                    first = self._orders[path]
                    if _digest(first) != saved["of"]:
                        raise ValueError(
                            f"The list {name} in the data starts in another order than in the "
                            "first run, so its present order is not known. Seed what shuffles it "
                            "first, or shuffle a list of places instead."
                        )
                    value[:] = [first[place] for place in saved["order"]]
            elif kind == "array":
                _put_array(get(), from_plain(saved), put)
            else:
                put(from_plain(saved))

    def _put_first(self, path, get, put, kind):
        if kind == "state" or _mark(get()) == self._first[path]:
            return
        if kind == "value":
            put(self._first[path])
        else:  # it was put back over before, which is how it came to be another
            _put_array(get(), self._originals[path], put)

    def _changed(self, path, value, kind):
        whose = f"the data ({'/'.join(path)})"
        if kind != "list":
            return to_plain(value, whose)
        if all(map(_is_short, value)):
            return {"order": None, "values": to_plain(value, whose)}
        first = {id(each): number for number, each in enumerate(self._orders[path])}
        order = [first.get(id(each)) for each in value]
        if None not in order and len(first) == len(order) == len(set(order)):
            # The same objects, shuffled.
            return {"order": order, "values": None, "of": _digest(self._orders[path])}
        return {"order": None, "values": to_plain(value, whose)}

    def _look(self, value, path, depth):
        if depth > _DEPTH or id(value) in self._seen or isinstance(value, _NOT_LOOKED_INTO):
            return
        self._seen.add(id(value))
        if state := generator_state(value):
            self.generators.add("/".join(path))
            self._holders.append((path, *state, "state"))
        elif hasattr(value, "state_dict") and hasattr(value, "load_state_dict"):
            self._holders.append((path, value.state_dict, value.load_state_dict, "state"))
        elif type(value).__module__.startswith("keras_dawn.") and hasattr(value, "set_epoch"):
            self._holders.append((path, *_epochs(value), "state"))
        elif isinstance(value, Iterator) and not hasattr(value, "__dict__"):
            self.reads_on = True  # Python's own, which do not tell where they are
        elif isinstance(value, (dict, list, tuple)):
            if isinstance(value, list):
                self._holders.append((path, lambda: value, None, "list"))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            if len(value) <= 64:  # transforms and the like, not the data itself
                for name, part in items:
                    self._attribute(value, name, part, path, depth)
        else:
            self.reads_on |= isinstance(value, Iterator)
            for name, part in _attributes(value):
                self._attribute(value, name, part, path, depth)

    def _attribute(self, owner, name, part, path, depth):
        here = (*path, str(name))
        if isinstance(part, (*_PLAIN, np.generic)):
            if isinstance(owner, (dict, list, tuple)):
                if isinstance(owner, dict):
                    self._holders.append(
                        (here, lambda: owner.get(name), lambda v: owner.update({name: v}), "value")
                    )
                return  # a list is looked at as a whole
            self._holders.append(
                (here, lambda: getattr(owner, name), lambda v: setattr(owner, name, v), "value")
            )
        elif isinstance(part, (np.ndarray, torch.Tensor)):
            if not isinstance(owner, (dict, list, tuple)):
                self._holders.append(
                    (here, lambda: getattr(owner, name), lambda v: setattr(owner, name, v), "array")
                )
        else:
            self._look(part, here, depth + 1)


def _epochs(data):
    """How to get and to put the epochs that this package's data is in."""

    def put(epochs):
        data.set_epoch(epochs["epoch"])
        if epochs["settings"] is not None:
            data.settings_epoch = epochs["settings"]

    return lambda: {"epoch": data.epoch, "settings": getattr(data, "settings_epoch", None)}, put


def _attributes(value):
    """`(name, value)` of an object's own attributes that Python's own objects do not have."""
    if type(value).__module__ in ("builtins", "threading", "_thread", "queue", "weakref"):
        return []
    skipped = {"_iterator"} if isinstance(value, DataLoader) else set()  # of persistent workers
    own = getattr(value, "__dict__", {})
    return [(name, part) for name, part in sorted(own.items()) if name not in skipped]


def _is_short(value):
    """Whether an entry of a list is a number, a string, or a few of them."""
    if isinstance(value, (list, tuple)):
        return len(value) <= 8 and all(isinstance(part, _PLAIN) for part in value)
    return isinstance(value, (*_PLAIN, np.generic))


def _digest(values):
    """What tells the same objects in the same order in another process."""
    digest = hashlib.sha256()
    for leaf in keras.tree.flatten(values):
        if isinstance(leaf, (torch.Tensor, np.ndarray, *_PLAIN)):
            digest.update(repr(_mark(leaf)).encode())
        else:
            digest.update(type(leaf).__name__.encode())
    return digest.digest()


def _put_array(array, saved, put):
    """Into the array's own memory where it fits: others may look at it."""
    if isinstance(array, list):
        array[:] = saved
    elif array.shape == saved.shape and isinstance(array, torch.Tensor):
        array.copy_(saved)
    # An array from a file that is mapped into memory cannot be written.
    elif array.shape == saved.shape and array.flags.writeable:
        array[...] = saved
    else:
        put(saved)


def _copied(value):
    return value.clone() if isinstance(value, torch.Tensor) else value.copy()


def _mark(value):
    """What tells whether a value has changed, without holding on to all of it."""
    if isinstance(value, list):
        # By identity: entries may be large, or have no `==`.
        return hash(tuple(map(id, value)))
    if isinstance(value, torch.Tensor):
        flat = value.detach().reshape(-1)
        sample = flat[:: max(1, len(flat) // _SAMPLE)].cpu().numpy().tobytes()
        return tuple(value.shape), sample
    if isinstance(value, np.ndarray):
        flat = value.reshape(-1) if value.flags.c_contiguous else value.ravel()
        return value.shape, str(value.dtype), flat[:: max(1, len(flat) // _SAMPLE)].tobytes()
    return value if isinstance(value, (*_PLAIN, np.generic)) else None
