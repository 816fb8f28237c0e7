"""Values of attributes: whether they have changed, whether they are data, and taken up again."""

import collections
import hashlib

from keras_dawn.foundation.plain_state import from_plain, to_plain
from keras_dawn.foundation.random_state import generator_state

import numpy as np
import torch

_PLAIN = (bool, int, float, str, bytes, type(None))
_SEQUENCES = (list, tuple, set, collections.deque)
_MOST = 100_000  # values in one attribute; a thousand of an array count as one
_WHOLE = 1_000_000  # numbers of an array that are all looked at


def mark(value):
    """What tells whether a value has changed, without holding on to it."""
    if state := generator_state(value):
        return mark(state[0]())
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta:
        flat = value.detach().reshape(-1)
        flat = flat[:: 1 + len(flat) // _WHOLE].cpu().contiguous()
        return tuple(value.shape), str(value.dtype), _digest(flat.view(torch.uint8).numpy())
    if isinstance(value, np.ndarray) and value.dtype != object:
        flat = value.reshape(-1)[:: 1 + value.size // _WHOLE]
        return value.shape, value.dtype.str, _digest(np.ascontiguousarray(flat))
    if isinstance(value, _SEQUENCES) and size(value) <= _MOST:
        return kind_of(value), tuple(map(mark, value))
    if isinstance(value, dict) and size(value) <= _MOST:
        return kind_of(value), tuple((mark(key), mark(part)) for key, part in value.items())
    if type(value) in _PLAIN or isinstance(value, np.generic):
        return type(value), repr(value)  # so that a NaN is itself
    return type(value), id(value)


def kind_of(value):
    """A value's class; of the lists, dicts and sets in which Keras keeps attributes, Python's."""
    kind = type(value)
    if kind.__module__.startswith("keras."):
        return next((base for base in (list, dict, set) if issubclass(kind, base)), kind)
    return kind


def size(value, depth=8):
    """How many values there are in a structure, as far as that matters."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return 1 + int(np.prod(value.shape)) // 1000
    if not isinstance(value, (*_SEQUENCES, dict)):
        return 1
    if depth == 0 or len(value) > _MOST:  # one that holds itself has no end
        return _MOST + 1
    total = 0
    for part in value.values() if isinstance(value, dict) else value:
        total += size(part, depth - 1)
        if total > _MOST:
            break
    return total


def is_data(value):
    """Whether a value can be saved, and made again as what it was."""
    if size(value) > _MOST:
        return False
    if kind_of(value) is dict:
        return all(type(key) in _PLAIN and is_data(part) for key, part in value.items())
    if kind_of(value) in _SEQUENCES:
        return all(map(is_data, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc" and value.dtype != np.longdouble
    if isinstance(value, torch.Tensor) and value.is_meta:
        return False
    kinds = (*_PLAIN, torch.Tensor, torch.nn.Parameter)
    return type(value) in kinds or generator_state(value) is not None


def encoded(value):
    """A value that `is_data` as what a checkpoint can hold, in memory of its own."""
    return to_plain(_encoded(value), "an attribute")


def decoded(saved, old=None):
    """The value again; in the memory of `old`, at which others may look, where it fits there."""
    return _decoded(from_plain(saved), old)


def _digest(content):
    return hashlib.sha256(content).digest()


def _encoded(value):
    """`[kind, content, more]`."""
    if state := generator_state(value):
        return ["generator", state[0](), None]
    if isinstance(value, torch.Tensor):
        return ["tensor", value, value.device.type]
    if isinstance(value, (np.ndarray, np.generic)):
        return ["array", np.asarray(value), isinstance(value, np.generic)]
    if isinstance(value, dict):
        return ["dict", [[key, _encoded(part)] for key, part in value.items()], None]
    if isinstance(value, _SEQUENCES):
        most = value.maxlen if isinstance(value, collections.deque) else None
        return [kind_of(value).__name__, [_encoded(part) for part in value], most]
    return ["plain", value, None]


def _decoded(saved, old):
    kind, content, more = saved
    if kind == "plain":
        return content
    if kind == "generator":
        if generator_state(old) is None:
            raise ValueError(
                "A random generator is in the checkpoint, and there is none now to go on with it. "
                "Make it before `fit`, such as in `__init__` of the callback or model."
            )
        generator_state(old)[1](content)
        return old
    if kind == "tensor":
        same = isinstance(old, torch.Tensor) and (old.shape, old.dtype) == (
            content.shape, content.dtype
        )  # fmt: skip
        if not same:
            return content.to(more, copy=True)
        old.detach().copy_(content)
        return old
    if kind == "array":
        if more:
            return content[()]
        same = isinstance(old, np.ndarray) and (old.shape, old.dtype) == (
            content.shape, content.dtype
        )  # fmt: skip
        if not same or not old.flags.writeable:
            return content.copy()
        old[...] = content
        return old
    if kind == "dict":
        before = dict(old) if kind_of(old) is dict else {}
        made = {key: _decoded(part, before.get(key)) for key, part in content}
        if kind_of(old) is dict:
            old.clear()
            old.update(made)
        return old if kind_of(old) is dict else made
    before = list(old) if kind_of(old) in (list, tuple) else []
    before += [None] * (len(content) - len(before))
    parts = [_decoded(part, was) for part, was in zip(content, before, strict=False)]
    if kind == "list" and kind_of(old) is list:
        old[:] = parts
        return old
    if kind == "deque":
        return collections.deque(parts, maxlen=more)
    return {"list": list, "tuple": tuple, "set": set}[kind](parts)
