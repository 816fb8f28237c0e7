"""torch's functions in Python that runs on symbolic tensors: noted as operations of a graph."""

import contextlib
import inspect
import threading
from dataclasses import dataclass

from keras_dawn.foundation import keras_context
from keras_dawn.foundation.keras_symbols import TraceError

import keras
import torch
import torch.nn.functional as F
from keras.src.ops.node import Node

_OF_TORCH = (
    "abs acos add amax amin asin atan atan2 bmm cat ceil clamp cos cosh cumsum div eq erf exp "
    "expm1 flatten flip floor ge gt isfinite isnan le log log10 log1p log2 log_softmax logical_and "
    "logical_not logical_or logsumexp lt matmul maximum mean minimum mm mul ne neg permute pow "
    "reciprocal relu reshape roll round rsqrt sigmoid sign sin sinh softmax sqrt square squeeze "
    "stack sub sum tan tanh transpose unsqueeze where"
)
_OF_FUNCTIONAL = (
    "elu gelu hardswish layer_norm leaky_relu linear log_softmax logsigmoid mish normalize relu "
    "relu6 scaled_dot_product_attention selu silu softmax softplus softsign tanhshrink"
)
# Each computes a tensor from tensors and numbers alone, and changes nothing.
FUNCTIONS = {id(found): found for found in map(torch.__dict__.get, _OF_TORCH.split())}
FUNCTIONS |= {id(found): found for found in map(F.__dict__.get, _OF_FUNCTIONAL.split())}
_SIZES = 83, 89  # in place of open ones; what differs in the result is open, too


@dataclass(frozen=True)
class Place:
    """Where a tensor stands among the arguments of a call."""

    number: int


class TorchCall(keras.Operation):
    """A call of a function of torch's as an operation of Keras's graphs; it takes the tensors.

    Args:
        function: one of `FUNCTIONS`.
        arguments: list of positional arguments and dict of the others, `Place`s for tensors.
    """

    def __init__(self, function, arguments):
        super().__init__()
        self.function, self.arguments = function, arguments

    def call(self, *tensors):
        args, kwargs = filled_in(self.arguments, tensors)
        return self.function(*args, **kwargs)


def filled_in(arguments, tensors):
    """`(args, kwargs)` with tensors in their places."""
    return keras.tree.map_structure(
        lambda part: tensors[part.number] if isinstance(part, Place) else part, arguments
    )


def dtype_of(operation, tensors):
    """Keras's name of the dtype of what a `TorchCall` makes of `KerasTensor`s."""
    return keras.backend.standardize_dtype(_computed(operation, tensors, _SIZES[0]).dtype)


def is_noted(value):
    """Whether a value is a function of torch's whose calls are noted."""
    try:
        return id(value) in FUNCTIONS and value is FUNCTIONS[id(value)]
    except TypeError:
        return False


@contextlib.contextmanager
def torch_calls_noted():
    """In this thread, outside Keras's shape inference, torch's functions take `KerasTensor`s."""
    thread = threading.get_ident()

    def __torch_function__(kind, function, types, args=(), kwargs=None):  # noqa: N807
        here = threading.get_ident() == thread and not keras_context.in_stateless_scope()
        if not here or not is_noted(function):
            return NotImplemented
        return _noted(function, args, kwargs or {})

    keras.KerasTensor.__torch_function__ = classmethod(__torch_function__)
    try:
        yield
    finally:
        del keras.KerasTensor.__torch_function__


def _noted(function, args, kwargs):
    if inspect.isfunction(function):
        bound = inspect.signature(function).bind(*args, **kwargs).arguments
        if bound.get("inplace") or bound.get("out") is not None:
            raise TraceError(f"{function.__name__} in place")
    elif "out" in kwargs:
        raise TraceError(f"{function.__name__} in place")
    tensors = []

    def place(part):
        if not isinstance(part, (keras.KerasTensor, torch.Tensor)):
            return part
        tensors.append(part)
        return Place(len(tensors) - 1)

    arguments = keras.tree.map_structure(place, [list(args), dict(kwargs)])
    operation = TorchCall(function, arguments)
    first, second = (_computed(operation, tensors, size) for size in _SIZES)
    pairs = zip(first.shape, second.shape, strict=True)
    shape = tuple(one if one == other else None for one, other in pairs)
    symbol = keras.KerasTensor(shape, keras.backend.standardize_dtype(first.dtype))
    Node(operation, call_args=tuple(tensors), call_kwargs={}, outputs=symbol)
    return symbol


def _computed(operation, tensors, size):
    """The result for a size in place of open ones, without numbers."""

    def without_numbers(tensor):
        if isinstance(tensor, torch.Tensor):
            return tensor.detach().to("meta")
        shape = [size if one is None else one for one in tensor.shape]
        dtype = keras.ops.zeros((), dtype=tensor.dtype).dtype
        return torch.empty(shape, dtype=dtype, device="meta")

    with torch.no_grad():
        result = operation.call(*map(without_numbers, tensors))
    if type(result) is not torch.Tensor:
        raise TraceError(f"{operation.function.__name__} with several results")
    return result
