"""States as data: what a file of tensors, numbers and strings can hold, and nothing that runs."""

import numpy as np
import torch

_PLAIN = (bool, int, float, str, type(None))
_ARRAY, _TYPE, _SHAPE = "__array__", "__type__", "__shape__"
_NUMBER, _DICT, _BYTES = "__number__", "__pairs__", "__bytes__"


def to_plain(value, whose):
    """A value made of numbers, strings, tensors, lists, tuples and dicts alone.

    Args:
        value: such a structure, which may hold NumPy's arrays and numbers too.
        whose: str, whose state it is, for the message.

    Raises:
        TypeError: anything else.

    Example:
        >>> float(from_plain(to_plain({"best": np.float32(0.5)}, "my callback"))["best"])
        0.5
    """
    if isinstance(value, torch.Tensor):
        # The class's `detach`: a subclass may give back its own kind, which no file of data holds.
        return torch.Tensor.detach(value).to("cpu", copy=True)
    if isinstance(value, np.generic) and _held_by_torch(value.dtype):
        # Of its own kind: sums of float32 are others than Python's.
        return {_NUMBER: torch.from_numpy(np.array(value))}
    if isinstance(value, np.str_):
        return value.item()
    if isinstance(value, bytes):  # a pickle calls a function to make them again
        return {_BYTES: torch.from_numpy(np.frombuffer(value, np.uint8).copy())}
    if isinstance(value, np.ndarray) and _held_by_torch(value.dtype):
        native = value.astype(value.dtype.newbyteorder("="), order="C", copy=True)
        return {_ARRAY: torch.from_numpy(native), _TYPE: value.dtype.str}
    if isinstance(value, np.ndarray) and value.dtype.kind in "US":
        return {_ARRAY: value.ravel().tolist(), _TYPE: value.dtype.str, _SHAPE: value.shape}
    if isinstance(value, (list, tuple)):
        parts = [to_plain(part, whose) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    if isinstance(value, dict):
        keys = [to_plain(key, whose) for key in value]
        parts = [to_plain(part, whose) for part in value.values()]
        # Names of its own begin with underscores: a user's dict with such keys is stored as pairs.
        strings = all(isinstance(key, str) and not key.startswith("__") for key in keys)
        return dict(zip(keys, parts, strict=True)) if strings else {_DICT: [keys, parts]}
    if isinstance(value, _PLAIN):
        for kind in _PLAIN:  # also of subclasses, such as an enumeration of strings
            if isinstance(value, kind):
                return None if value is None else kind(value)
    raise TypeError(
        f"The state of {whose} holds a {_kind(value)}. A checkpoint can hold numbers, "
        "strings, arrays, tensors, and lists, tuples and dicts of those: give it something of that "
        "kind from `state_dict`."
    )


def from_plain(value):
    """What `to_plain` was given, arrays as arrays."""
    if isinstance(value, (list, tuple)):
        return type(value)(from_plain(part) for part in value)
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        held, kind = value[_ARRAY], value.get(_TYPE)
        # In memory of its own: what is restored may be changed, and restored again.
        array = np.array(held.numpy() if isinstance(held, torch.Tensor) else held, kind)
        return array.reshape(value.get(_SHAPE, array.shape))
    if _NUMBER in value:
        return value[_NUMBER].numpy()[()]
    if _BYTES in value:
        return value[_BYTES].numpy().tobytes()
    if _DICT in value:
        keys, parts = from_plain(value[_DICT][0]), from_plain(value[_DICT][1])
        return dict(zip(keys, parts, strict=True))
    return {key: from_plain(part) for key, part in value.items()}


def check_plain(value, name="state"):
    """Raises `TypeError` for what is not made of what `to_plain` returns, with the way to it."""
    kind = type(value)
    if kind in (list, tuple):
        if not set(map(type, value)) <= set(_PLAIN):  # most are long and plain
            for number, part in enumerate(value):
                check_plain(part, f"{name}/{number}")
    elif kind is dict:
        for key, part in value.items():
            check_plain(key, f"a key of {name}")
            check_plain(part, f"{name}/{key}")
    elif kind not in (*_PLAIN, torch.Tensor) and not (kind is bytes and value):
        raise TypeError(
            f"A checkpoint cannot hold the {_kind(value)} at {name}: no file of data does. Please "
            "report this with the script."
        )


def _held_by_torch(dtype):
    return dtype.kind in "biufc" and dtype not in (np.longdouble, np.clongdouble)


def _kind(value):
    if isinstance(value, (np.ndarray, np.generic)):
        return f"NumPy {'array' if isinstance(value, np.ndarray) else 'number'} of {value.dtype}"
    return type(value).__name__


def alike(values):
    """Whether all values of a list are the same, tensors to the bit."""
    return all(_same(values[0], other) for other in values[1:])


def _same(one, other):
    if isinstance(one, torch.Tensor):
        same_kind = isinstance(other, torch.Tensor) and one.dtype == other.dtype
        return same_kind and torch.equal(one, other)
    if isinstance(one, dict):
        same_keys = isinstance(other, dict) and list(one) == list(other)
        return same_keys and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        as_many = type(one) is type(other) and len(one) == len(other)
        return as_many and all(map(_same, one, other))
    return type(one) is type(other) and one == other
