"""Python's operators in Python that runs on symbolic tensors: where torch's do as Keras's."""

import contextlib
import operator
import threading

from keras_dawn.foundation import keras_context
from keras_dawn.foundation.keras_symbols import TraceError

import keras
import numpy as np
import torch

_BETWEEN = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor",
)  # fmt: skip
_COMPARISONS = "lt", "le", "gt", "ge", "ne"
_OF_ONE = {"neg": operator.neg, "abs": abs, "invert": operator.invert, "round": round}


def _turned(function):
    return lambda one, other: function(other, one)


def _functions():
    """What Python calls for each of them, by the names of their methods."""
    found = dict(_OF_ONE)
    for name in _BETWEEN:
        function, name = getattr(operator, name), name.rstrip("_")
        found |= {name: function, f"r{name}": _turned(function)}
    found |= {name: getattr(operator, name) for name in _COMPARISONS}
    found = {f"__{name}__": function for name, function in found.items()}
    return {name: function for name, function in found.items() if name in vars(keras.KerasTensor)}


_FUNCTIONS = _functions()


@contextlib.contextmanager
def operators_checked():
    """In this thread, outside Keras's shape inference, refuses what torch's operators do otherwise.

    `ids & 1` is bit by bit for torch and a logical "and" for Keras; a difference of booleans, and
    `@` of two dtypes, are errors there; a list says which rows, and is one place for Keras.
    """
    thread, kind = threading.get_ident(), keras.KerasTensor
    own = {name: vars(kind)[name] for name in (*_FUNCTIONS, "__getitem__")}

    def checked(name, method):
        def apply(self, *others):
            result = method(self, *others)
            if keras_context.is_noting(thread):
                _check(name, (self, *others), result)
            return result

        return apply

    def __getitem__(self, key):  # noqa: N807
        if keras_context.is_noting(thread):
            _check_key(key)
        return own["__getitem__"](self, key)

    for name in _FUNCTIONS:
        setattr(kind, name, checked(name, own[name]))
    kind.__getitem__ = __getitem__
    try:
        yield
    finally:
        for name, method in own.items():
            setattr(kind, name, method)


def _check_key(key):
    for part in key if type(key) is tuple else (key,):
        if part is not None and part is not ... and type(part) not in (int, slice):
            raise TraceError(f"an index that is a {type(part).__name__}")


def _check(name, operands, result):
    """Raises `TraceError` where the operator of real tensors raises, or gives another dtype."""
    ones = [_ones(operand) for operand in operands]
    try:
        found = keras.backend.standardize_dtype(_FUNCTIONS[name](*ones).dtype)
    except Exception as error:
        raise TraceError(f"{name} of such operands, which torch refuses") from error
    # What is expected beforehand may be another dtype than Keras computes.
    operation, *_ = result._keras_history
    ones = ones[::-1] if name.startswith("__r") and name != "__round__" else ones
    computed = keras.backend.standardize_dtype(operation.call(*ones).dtype)
    if found != computed:
        raise TraceError(f"{name} gives {found} of torch's and {computed} of Keras's tensors")
    result._dtype = computed


def _ones(operand):
    """As small a real operand as can be in place of one: tensors of no axes count otherwise."""
    if isinstance(operand, keras.Variable):
        operand = operand.value
    if isinstance(operand, (keras.KerasTensor, torch.Tensor)):
        dtype = getattr(torch, keras.backend.standardize_dtype(operand.dtype))
        return torch.ones((1,) * len(operand.shape), dtype=dtype, device="cpu")
    several = isinstance(operand, np.ndarray) and operand.ndim
    return np.ones_like(operand[:1]) if several else operand
