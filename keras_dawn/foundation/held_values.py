"""Values in the data that change: whether they have, as data, and taken up again."""

import hashlib

from keras_dawn.foundation.plain_state import from_plain, to_plain

import numpy as np
import torch

WHOLE_BYTES = 1 << 24  # an array up to this size is looked at as a whole
_WHOLE_IN_ALL = 1 << 28
_SAMPLE = 1 << 16  # values of a larger one by which a change is noticed
_COPIED_IN_ALL = 1 << 26


class Budget:
    """How much is read at every look, and how much is held from the first one."""

    def __init__(self):
        self._read, self._copied = _WHOLE_IN_ALL, _COPIED_IN_ALL

    def reads(self, size):
        """Whether something of so many bytes is looked at as a whole."""
        fits = size <= min(WHOLE_BYTES, self._read)
        self._read -= size if fits else 0
        return fits

    def copies(self, size):
        """Whether a copy of it is held."""
        fits = size <= min(WHOLE_BYTES, self._copied)
        self._copied -= size if fits else 0
        return fits


class HeldValue:
    """A number, a string, or a tuple of those, as it was at first."""

    kind = "value"

    def __init__(self, value, budget):
        self._first = value

    def changed(self, value):
        """Whether it is another one by now."""
        return type(value) is not type(self._first) or repr(value) != repr(self._first)

    def encoded(self, value, whose):
        """What `put` takes, as plain data."""
        return to_plain(value, whose)

    def put(self, value, saved, replace):
        """Puts back what was encoded; `replace` takes what is to be in the place of `value`."""
        replace(from_plain(saved))

    def put_first(self, value, replace):
        """Puts back what there was at first."""
        replace(self._first)


class HeldArray:
    """An array or a tensor; one that is larger than 16 MiB by 65,536 of its values.

    It is put back in the memory that it is in, at which others may look, unless it does not fit.
    """

    kind = "array"

    def __init__(self, value, budget):
        self._whole = budget.reads(value.nbytes)
        self._mark, self._last = self._marked(value), (None, None)
        self._first = _copied(value) if budget.copies(value.nbytes) else None

    def changed(self, value):
        return self._marked(value) != self._mark

    def encoded(self, value, whose):
        mark = self._marked(value)
        if self._whole and mark == self._last[0]:  # the same again: a file holds it once
            return self._last[1]
        self._last = mark, plain_array(value, whose)
        return self._last[1]

    def put(self, value, saved, replace):
        here = isinstance(value, (np.ndarray, torch.Tensor))
        if here and self._first is None and not self.changed(value):
            self._first = _copied(value)
        _write(value, array_of(saved), replace)

    def put_first(self, value, replace):
        if self._first is None:
            raise ValueError(
                f"An array of {value.nbytes >> 20} MiB in the data has been written over, and what "
                "it was at first is not known any more. Start the script again."
            )
        _write(value, _copied(self._first), replace)

    def _marked(self, value):
        if isinstance(value, torch.Tensor):
            value = value.detach()
            flat = value.reshape(-1) if self._whole else _few(value)
            flat = flat.resolve_conj().cpu().contiguous()
            # One number of a broadcast tensor has a stride of 0, and no view as bytes.
            flat = flat.as_strided(flat.shape, (1,)).view(torch.uint8).numpy()
            kind = str(value.dtype)
        else:
            flat = value.reshape(-1) if self._whole else _few(value)
            flat, kind = np.ascontiguousarray(flat).tobytes(), value.dtype.str
        return tuple(value.shape), kind, hashlib.sha256(flat).digest()


class HeldBuffer:
    """A `bytearray` or an `array.array`."""

    kind = "buffer"

    def __init__(self, value, budget):
        self._first = bytes(value)

    def changed(self, value):
        return bytes(value) != self._first

    def encoded(self, value, whose):
        return to_plain(bytes(value), whose)

    def put(self, value, saved, replace):
        saved = from_plain(saved)
        if isinstance(value, bytearray):
            value[:] = saved
        else:
            del value[:]
            value.frombytes(saved)

    def put_first(self, value, replace):
        self.put(value, self._first, replace)


class HeldSet:
    """A set of numbers, strings, and tuples of those."""

    kind = "set"

    def __init__(self, value, budget):
        self._first = frozenset(value)

    def changed(self, value):
        return value != self._first

    def encoded(self, value, whose):
        try:
            ordered = sorted(value)
        except TypeError:
            ordered = sorted(value, key=repr)
        return to_plain(ordered, whose)

    def put(self, value, saved, replace):
        value.clear()
        value.update(from_plain(saved))

    def put_first(self, value, replace):
        value.clear()
        value.update(self._first)


def plain_array(value, whose):
    """An array or a tensor as plain data, also of strings, times and records."""
    if isinstance(value, torch.Tensor) or value.dtype.kind in "biufc":
        return to_plain(value, whose)
    content = torch.frombuffer(bytearray(value.tobytes()) or bytearray(1), dtype=torch.uint8)
    kind = [list(field) for field in value.dtype.descr] if value.dtype.names else value.dtype.str
    return {"__bytes__": content, "shape": tuple(value.shape), "kind": kind}


def array_of(saved):
    """What `plain_array` was given."""
    if not (isinstance(saved, dict) and "__bytes__" in saved):
        return from_plain(saved)
    kind = saved["kind"]
    kind = np.dtype(kind if isinstance(kind, str) else [tuple(field) for field in kind])
    count = int(np.prod(saved["shape"]))
    content = saved["__bytes__"].numpy()[: count * kind.itemsize]
    return np.frombuffer(content.tobytes(), kind).reshape(saved["shape"]).copy()


def _write(array, saved, replace):
    tensor = isinstance(array, torch.Tensor) and isinstance(saved, torch.Tensor)
    if tensor and array.shape == saved.shape and array.dtype == saved.dtype:
        with torch.no_grad():
            array.copy_(saved)
    elif isinstance(array, np.ndarray) and isinstance(saved, np.ndarray) and (
        (array.shape, array.dtype, array.flags.writeable) == (saved.shape, saved.dtype, True)
    ):  # fmt: skip
        array[...] = saved
    elif isinstance(saved, torch.Tensor) and isinstance(array, torch.Tensor):
        replace(saved.to(array.device, copy=True))
    else:
        replace(saved.clone() if isinstance(saved, torch.Tensor) else saved.copy())


def _copied(value):
    return value.detach().clone() if isinstance(value, torch.Tensor) else value.copy()


def _few(value):
    """Values of a large array, spread over it, without a copy of it."""
    if isinstance(value, np.ndarray):
        return value.flat[:: max(1, value.size // _SAMPLE)]
    places = torch.arange(0, value.numel(), max(1, value.numel() // _SAMPLE), device=value.device)
    if value.is_contiguous():
        return value.view(-1)[places]
    return value[torch.unravel_index(places, value.shape)]
