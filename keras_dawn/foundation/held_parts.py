"""What objects hold, and which of them are left alone: files, locks, what cannot change."""

import array
import collections
import collections.abc
import enum
import io
import logging
import queue
import random
import sys
import threading
import types

from keras_dawn.foundation import held_code, keras_fit
from keras_dawn.foundation.users_code import is_users_class

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader

PLAIN = (bool, int, float, complex, str, bytes, type(None), np.generic)
_LOOKED_INTO = {  # of Python's own modules
    "argparse", "builtins", "collections", "functools", "itertools", "types", "typing",
}  # fmt: skip
_RESOURCES = (
    logging.Logger, logging.Handler, types.ModuleType, types.BuiltinFunctionType, enum.Enum,
    keras.optimizers.Optimizer, keras.metrics.Metric, keras.losses.Loss, torch.optim.Optimizer,
    torch.dtype, torch.device, torch.Size, np.dtype, np.memmap, keras.DTypePolicy,
)  # fmt: skip
_PACKAGES = {  # whose objects are files, tables, images and models, not random numbers or counts
    "PIL", "cv2", "h5py", "jax", "lmdb", "matplotlib", "numpy", "polars", "pyarrow", "tensorflow",
    "tokenizers", "zarr",
}  # fmt: skip
_QUEUES = (queue.Queue, queue.SimpleQueue)


def is_plain(value, depth=4):
    """Whether a value is a number, a string, or a tuple of those: it changes by being replaced."""
    if type(value) is tuple and depth:
        return len(value) <= 64 and all(is_plain(part, depth - 1) for part in value)
    return isinstance(value, PLAIN) and not isinstance(value, enum.Enum)


def is_left_alone(value):
    """Whether a value cannot change, or changes in ways that are no part of a training."""
    if isinstance(value, _RESOURCES) or keras_fit.is_queue(value):
        return True
    package = type(value).__module__.partition(".")[0]
    if isinstance(value, np.ndarray):
        return False
    if package in _PACKAGES:
        return True
    return package in sys.stdlib_module_names and package not in _LOOKED_INTO


def why_unknown(value):
    """What stands in the way of following a value, as words; `None` if nothing does."""
    if isinstance(value, _QUEUES) or type(value).__module__ == "multiprocessing.queues":
        return "a queue, and what waits in it cannot be saved"
    if isinstance(value, random.SystemRandom):
        return "a source of random numbers that cannot be drawn again"
    if isinstance(value, threading.Thread) and value.is_alive():
        return "a thread, and where it is cannot be known"
    return None


def kind_of(value):
    """`"value"`, `"array"`, `"list"`, `"dict"`, `"set"`, `"buffer"`, `"table"` or `"object"`."""
    if is_plain(value):
        return "value"
    if isinstance(value, torch.Tensor):
        plain = value.layout == torch.strided and not value.is_meta and not value.is_quantized
        return "array" if plain else "object"
    if isinstance(value, np.ndarray):
        return "list" if value.dtype.hasobject else "array"
    if isinstance(value, (list, collections.deque)):
        return "list"
    if isinstance(value, dict):
        return "dict"
    if isinstance(value, set):
        return "set"
    if isinstance(value, (bytearray, array.array)):
        return "buffer"
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, (pandas.DataFrame, pandas.Series)):
        return "table"
    return "object"


def entries(value):
    """The entries of a list, a deque or an array of objects."""
    return value.reshape(-1).tolist() if isinstance(value, np.ndarray) else list(value)


def parts_of(value):
    """`(step, part)` of all that an object holds; see `put_part` for the step."""
    if isinstance(value, dict):
        return [(("item", key), part) for key, part in value.items()]
    if isinstance(value, (list, tuple, collections.deque, np.ndarray)):
        return [(("place", number), part) for number, part in enumerate(entries(value))]
    if held_code.is_code(value):
        return held_code.parts_of_code(value)
    if isinstance(value, (torch.Tensor, str, bytes, frozenset)):
        return []
    own = dict(getattr(value, "__dict__", {}))
    if isinstance(value, DataLoader):
        own.pop("_iterator", None)  # of persistent workers
        # Workers call it on copies of their own, and resumption puts a wrapper around it.
        own.pop("worker_init_fn", None)
    own |= slots_of(value)
    found = [(("attribute", name), part) for name, part in sorted(own.items())]
    if any(map(is_users_class, type(value).__mro__)):
        found.append((("class", f"class {type(value).__name__}"), type(value)))
    return found


def slots_of(value):
    """The attributes that an object has in slots, by name."""
    own = {}
    for base in type(value).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else tuple(slots):
            if name.startswith("__") and not name.endswith("__"):
                name = f"_{base.__name__.lstrip('_')}{name}"
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                own[name] = getattr(value, name)
    return own


def put_part(owner, step, part):
    """Puts a part in the place of another, or of none.

    Args:
        owner: what holds it.
        step: `(how, name)`, with how one of `"attribute"`, `"item"` (of a dict), `"place"` (in a
            list), `"closure"` and `"global"` (of a function).

    Raises:
        ValueError: there is no way to, as in a tuple.
    """
    how, name = step
    if held_code.is_code(owner):
        held_code.put_part(owner, step, part)
    elif how == "item" or (how == "place" and not isinstance(owner, (tuple, np.ndarray))):
        owner[name] = part
    elif how == "attribute":
        setattr(owner, name, part)
    else:
        raise ValueError(f"entry {name} of a {type(owner).__name__} cannot be replaced")


def remove_part(owner, step):
    """Takes away an attribute, or a key of a dict, that there was not at first."""
    how, name = step
    if how == "item":
        del owner[name]
    elif how == "attribute":
        delattr(owner, name)


def is_iterator(value):
    """Whether a value reads on and does not say where it is."""
    return isinstance(value, collections.abc.Iterator) and not isinstance(value, io.IOBase)
