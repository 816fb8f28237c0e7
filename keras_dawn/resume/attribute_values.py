"""Values of attributes: whether they have changed, whether they are data, and taken up again."""

import collections
import datetime
import enum
import hashlib
import pathlib
import sys

from keras_dawn.foundation.plain_state import from_plain, to_plain
from keras_dawn.foundation.random_state import generator_state

import numpy as np
import torch

_PLAIN = (bool, int, float, str, bytes, type(None))
_SEQUENCES = (list, tuple, set, frozenset, collections.deque)
_DICTS = (dict, collections.OrderedDict, collections.Counter, collections.defaultdict)
_FACTORIES = {kind.__name__: kind for kind in (bool, int, float, str, list, dict, set)}
_ATOMS = {  # how one is written down, and made again
    type(pathlib.Path()): (str, pathlib.Path),
    range: (lambda r: [r.start, r.stop, r.step], lambda parts: range(*parts)),
    datetime.datetime: (lambda t: t.isoformat(), datetime.datetime.fromisoformat),
    datetime.timedelta: (
        lambda t: [t.days, t.seconds, t.microseconds], lambda parts: datetime.timedelta(*parts)
    ),
    datetime.date: (lambda day: day.isoformat(), datetime.date.fromisoformat),
}  # fmt: skip
_MOST = 100_000  # values in one attribute; a thousand of an array count as one
_WHOLE = 1_000_000  # numbers of an array that are all looked at


def mark(value):
    """What tells whether a value has changed, without holding on to it."""
    if state := generator_state(value):
        return mark(state[0]())
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and not value.is_meta:
        flat = value.detach().reshape(-1)
        flat = flat[:: 1 + len(flat) // _WHOLE].resolve_conj().cpu().contiguous()
        flat = flat.as_strided(flat.shape, (1,))  # one number may have a stride of 0
        return tuple(value.shape), str(value.dtype), _digest(flat.view(torch.uint8).numpy())
    if isinstance(value, np.ndarray) and value.dtype != object:
        flat = value.reshape(-1)[:: 1 + value.size // _WHOLE]
        return value.shape, value.dtype.str, _digest(np.ascontiguousarray(flat))
    if isinstance(value, (set, frozenset)) and size(value) <= _MOST:
        # In another order in every process.
        return kind_of(value), tuple(sorted(map(mark, value), key=repr))
    if isinstance(value, _SEQUENCES) and size(value) <= _MOST:
        return kind_of(value), tuple(map(mark, value))
    if isinstance(value, dict) and size(value) <= _MOST:
        return kind_of(value), tuple((mark(key), mark(part)) for key, part in value.items())
    if type(value) in (*_PLAIN, *_ATOMS) or isinstance(value, (np.generic, enum.Enum)):
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


def holds_arrays(value, depth=8):
    """Whether arrays, tensors or random generators are among a value."""
    if isinstance(value, (*_SEQUENCES, dict)) and depth:
        parts = value.values() if isinstance(value, dict) else value
        return any(holds_arrays(part, depth - 1) for part in parts)
    arrays = isinstance(value, (np.ndarray, torch.Tensor))
    return arrays or generator_state(value) is not None


def is_data(value):
    """Whether a value can be saved, and made again as what it was."""
    if size(value) > _MOST:
        return False
    if kind_of(value) in _DICTS:
        made = getattr(value, "default_factory", None) in (None, *_FACTORIES.values())
        return made and all(_is_key(key) and is_data(part) for key, part in value.items())
    if kind_of(value) in _SEQUENCES:
        return all(map(is_data, value))
    if isinstance(value, (np.ndarray, np.generic)):
        return value.dtype.kind in "biufc" and value.dtype != np.longdouble
    if isinstance(value, torch.Tensor) and value.is_meta:
        return False
    if isinstance(value, enum.Enum):
        return _enumeration(*_named(value)) is type(value)
    kinds = (*_PLAIN, *_ATOMS, torch.Tensor, torch.nn.Parameter)
    return type(value) in kinds or generator_state(value) is not None


def encoded(value):
    """A value that `is_data` as what a checkpoint can hold, in memory of its own."""
    return to_plain(_encoded(value), "an attribute")


def decoded(saved, old=None):
    """The value again; in the memory of `old`, at which others may look, where it fits there."""
    return _decoded(from_plain(saved), old)


def _is_key(key):
    if type(key) is tuple:
        return all(map(_is_key, key))
    return type(key) in _PLAIN or isinstance(key, (np.number, np.bool_))


def _named(member):
    return type(member).__module__, type(member).__qualname__


def _enumeration(module, name):
    """An enumeration of a module that is loaded, or `None`."""
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, enum.Enum) else None


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
        factory = getattr(getattr(value, "default_factory", None), "__name__", None)
        parts = [[_encoded(key), _encoded(part)] for key, part in value.items()]
        return [kind_of(value).__name__, parts, factory]
    if isinstance(value, enum.Enum):
        return ["enum", value.name, list(_named(value))]
    if type(value) in _ATOMS:
        return ["atom", _ATOMS[type(value)][0](value), list(_ATOMS).index(type(value))]
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
    if kind == "enum":
        found = _enumeration(*more)
        if found is None or content not in found.__members__:
            raise ValueError(
                f"The checkpoint holds {more[1]}.{content} of an attribute, which {more[0]} does "
                "not have now. Put it back, or give another folder."
            )
        return found[content]
    if dicts := [each for each in _DICTS if each.__name__ == kind]:
        return _decoded_dict(dicts[0], content, more, old)
    if kind == "atom":
        return list(_ATOMS.values())[more][1](content)
    before = list(old) if kind_of(old) in (list, tuple) else []
    before += [None] * (len(content) - len(before))
    parts = [_decoded(part, was) for part, was in zip(content, before, strict=False)]
    if kind == "list" and kind_of(old) is list:
        old[:] = parts
        return old
    if kind == "deque":
        return collections.deque(parts, maxlen=more)
    return {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}[kind](parts)


def _decoded_dict(kind, content, factory, old):
    here = kind_of(old) is kind
    before = dict(old) if here else {}
    made = {}
    for saved_key, part in content:
        key = _decoded(saved_key, None)
        made[key] = _decoded(part, before.get(key))
    if not here:
        old = kind(_FACTORIES.get(factory)) if kind is collections.defaultdict else kind()
    old.clear()
    old.update(made)
    return old
