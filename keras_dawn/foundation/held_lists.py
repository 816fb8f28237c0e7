"""Lists and dicts in the data: shuffled, replaced, chosen from; as places where that is enough."""

import collections
import hashlib
import operator

from keras_dawn.foundation.held_parts import entries, is_left_alone, is_plain
from keras_dawn.foundation.plain_state import from_plain, to_plain

import numpy as np
import torch

CACHE_BYTES = 1 << 26  # of arrays that come up within a list or a dict
_SHORT = 256  # entries of a list whose values are saved themselves
_SAMPLE = 4096  # entries by which a list of objects is known again


class HeldError(Exception):
    """What stands in the way of putting something back, as the end of a sentence."""


class CacheError(Exception):
    """A container fills with what is no data of a checkpoint."""


class HeldList:
    """A list, a deque or an array of objects, by which entries are in it and in what order.

    A long list is saved as places in what it was at first; of numbers and strings, in what they
    are when sorted, so that another process may have begun with another order.
    """

    kind = "list"

    def __init__(self, value, budget):
        self._first = entries(value)
        self._base = self._of = None
        self._last = None, None

    def changed(self, value):
        return not _identical(entries(value), self._first)

    def encoded(self, value, whose):
        now = entries(value)
        if self._last[0] is not None and _identical(now, self._last[0]):
            return self._last[1]  # the same again: a file holds it once
        self._last = now, self._encoded(now, whose)
        return self._last[1]

    def put(self, value, saved, replace):
        if saved["places"] is None:
            new = from_plain(saved["values"])
        else:
            self._find_base()
            if self._of != saved["of"]:
                raise HeldError(
                    "starts in another order than in the first run, or holds others, so its "
                    "present order is not known. Seed what shuffles it first, or shuffle a list "
                    "of places instead."
                )
            new = list(map(self._base.__getitem__, saved["places"].tolist()))
        _fill(value, new)

    def put_first(self, value, replace):
        _fill(value, self._first)

    def _encoded(self, now, whose):
        if len(now) <= _SHORT and all(map(is_plain, now)):
            return {"places": None, "values": to_plain(now, whose)}
        self._find_base()
        ids = np.fromiter(map(id, self._base), np.int64, len(self._base))
        sought = np.fromiter(map(id, now), np.int64, len(now))
        order = np.argsort(ids, kind="stable")
        at = np.searchsorted(ids, sought, sorter=order).clip(max=max(len(ids) - 1, 0))
        places = order[at] if len(ids) else at
        if len(now) and len(ids) and (ids[places] == sought).all():
            return {"places": torch.from_numpy(places.astype(np.int32)), "of": self._of}
        known = set(ids.tolist())
        _check_no_cache([part for part in now if id(part) not in known])
        return {"places": None, "values": to_plain(now, whose)}

    def _find_base(self):
        if self._base is not None:
            return
        self._base = self._first
        if set(map(type, self._first)) <= {str, int} or all(map(is_plain, self._first)):
            try:
                self._base = sorted(self._first)
            except TypeError:  # such as strings beside numbers
                self._base = sorted(self._first, key=repr)
        self._of = _digest(self._base)


class HeldDict:
    """A dict with many entries, by which there are."""

    kind = "dict"

    def __init__(self, value, budget):
        self._first = dict(value)

    def changed(self, value):
        first = self._first
        return not (_identical(list(value), list(first))
                    and _identical(list(value.values()), list(first.values())))  # fmt: skip

    def encoded(self, value, whose):
        others = [
            [key, part] for key, part in value.items() if self._first.get(key, _NONE) is not part
        ]
        _check_no_cache([part for _, part in others])
        keys = HeldList(list(self._first), None)
        return {"keys": keys.encoded(list(value), whose), "others": to_plain(others, whose)}

    def put(self, value, saved, replace):
        others = dict(map(tuple, from_plain(saved["others"])))
        keys = list(self._first)
        HeldList(keys, None).put(keys, saved["keys"], None)
        new = {key: others[key] if key in others else self._first[key] for key in keys}
        value.clear()
        value.update(new)

    def put_first(self, value, replace):
        value.clear()
        value.update(self._first)


_NONE = object()


def bytes_of(value, depth=3):
    """How much memory the arrays in a structure take."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return value.nbytes
    if isinstance(value, (list, tuple, dict)) and depth:
        parts = value.values() if isinstance(value, dict) else value
        return sum(bytes_of(part, depth - 1) for part in parts)
    return 0


def _check_no_cache(fresh):
    kinds = {type(part): part for part in fresh}.values()
    if any(map(is_left_alone, kinds)) or sum(map(bytes_of, fresh)) > CACHE_BYTES:
        raise CacheError


def _identical(ones, others):
    # By identity: entries may be large, or have no `==`.
    return len(ones) == len(others) and all(map(operator.is_, ones, others))


def _fill(value, new):
    if isinstance(value, collections.deque):
        value.clear()
        value.extend(new)
    elif isinstance(value, list):
        value[:] = new
    else:
        held = np.empty(len(new), object)
        held[:] = new
        value[...] = held.reshape(value.shape)


def _digest(values):
    """What tells the same entries in the same order in another process."""
    digest = hashlib.sha256(str(len(values)).encode())
    if all(isinstance(value, str) for value in values):
        digest.update("\0".join(values).encode("utf-8", "surrogatepass"))
        return digest.digest()
    for value in values[:: max(1, len(values) // _SAMPLE)]:
        _update(digest, value, 3)
    return digest.digest()


def _update(digest, value, depth):
    digest.update(type(value).__name__.encode())
    if is_plain(value):
        digest.update(repr(value).encode("utf-8", "surrogatepass"))
    elif isinstance(value, np.ndarray) and not value.dtype.hasobject:
        digest.update(np.ascontiguousarray(value.flat[:: max(1, value.size // 64)]).tobytes())
    elif isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta:
        flat = value.detach().reshape(-1)[:: max(1, value.numel() // 64)]
        digest.update(repr(flat.tolist()).encode())
    elif isinstance(value, (list, tuple, dict)) and depth:
        for part in value.items() if isinstance(value, dict) else value:
            _update(digest, part, depth - 1)
