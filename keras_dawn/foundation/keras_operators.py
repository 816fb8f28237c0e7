"""Python's operators in Python that runs on symbolic tensors: where torch's do as Keras's."""

import contextlib
import operator
import threading

from keras_dawn.foundation import keras_context
from keras_dawn.foundation.keras_symbols import TraceError

import keras
import torch

_BETWEEN = (
    "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor",
)  # fmt: skip
_COMPARISONS = "lt", "le", "gt", "ge", "ne"
_OF_ONE = {"neg": operator.neg, "abs": abs, "invert": operator.invert, "round": round}


def _functions():
    """What Python calls for each of them, by the names of their methods."""
    found = {**_OF_ONE, **{name: getattr(operator, name) for name in _COMPARISONS}}
    for name in _BETWEEN:
        method = name.rstrip("_")
        found[method] = found[f"r{method}"] = getattr(operator, name)
    found = {f"__{name}__": function for name, function in found.items()}
    return {name: function for name, function in found.items() if name in vars(keras.KerasTensor)}


_FUNCTIONS = _functions()
_OF_THE_SECOND = {f"__r{name.rstrip('_')}__" for name in _BETWEEN}  # as in 2 - x, which asks x


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
            key = key if type(key) in (int, tuple) else (key,)  # as Keras's graphs take it
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
    if name in _OF_THE_SECOND:
        ones.reverse()
    # What is expected beforehand may be another dtype than Keras computes.
    operation, *_ = result._keras_history
    try:
        results = _FUNCTIONS[name](*ones), operation.call(*ones)
    except Exception as error:
        raise TraceError(f"{name} of such operands, which torch refuses") from error
    found, computed = (keras.backend.standardize_dtype(each.dtype) for each in results)
    if found != computed:
        raise TraceError(f"{name} gives {found} of torch's and {computed} of Keras's tensors")
    result._dtype = computed


def _ones(operand):
    """As small a real operand as can be in place of one: tensors of no axes count otherwise."""
    if not isinstance(operand, (keras.KerasTensor, torch.Tensor)):
        return operand  # a number
    dtype = getattr(torch, keras.backend.standardize_dtype(operand.dtype))
    return torch.ones((1,) * len(operand.shape), dtype=dtype, device="cpu")
