"""Draws of `keras.random` in Python that runs on symbolic tensors: noted, not made."""

import contextlib
import inspect
import threading

from keras_dawn.foundation import keras_context
from keras_dawn.foundation.keras_symbols import TraceError

import keras
from keras.src.backend.torch import random as keras_random
from keras.src.ops.node import Node

NOTED = ("normal", "truncated_normal", "uniform", "randint", "dropout")
_GENERATOR = keras.random.SeedGenerator
_NUMBERS = (bool, int, float)
_WHOLE = ("int8", "int16", "int32", "int64", "uint8")


class Draw(keras.Operation):
    """A draw of `keras.random` as an operation of Keras's graphs.

    It is called with the tensor that dropout drops from, or with those whose first size may be the
    first of the shape.

    Args:
        function: str, one of `NOTED`.
        seed: `SeedGenerator`, int, or `None` for Keras's own generator.
        shape: tuple; `None` first stands for the size of the batch. Of dropout `noise_shape`.
        dtype: str, that of the result.
        numbers: dict of the other arguments by name.
    """

    def __init__(self, function, seed, shape, dtype, numbers):
        super().__init__()
        self.function, self.seed, self.shape = function, seed, shape
        self.dtype, self.numbers = dtype, numbers

    def asks_torch(self):
        """Whether it is dropout for which Keras asks torch's own generator."""
        seed = self.seed
        seeded = (
            seed._initial_seed is not None if seed.__class__ is _GENERATOR else seed is not None
        )
        return self.function == "dropout" and self.shape is None and not seeded

    def call(self, *tensors):
        function = getattr(keras.random, self.function)
        if self.function == "dropout":
            return function(*tensors, noise_shape=self.shape, seed=self.seed, **self.numbers)
        sizes = {tensor.shape[0] for tensor in tensors if tensor.ndim}
        if self.shape[:1] == (None,) and len(sizes) != 1:
            raise ValueError(f"Expected inputs of one batch size, got {sorted(sizes)}.")
        shape = tuple(min(sizes) if size is None else size for size in self.shape)
        return function(shape, dtype=self.dtype, seed=self.seed, **self.numbers)


@contextlib.contextmanager
def draws_noted(inputs, called):
    """In this thread, outside Keras's shape inference, draws are nodes of a graph.

    Args:
        inputs: list of the `KerasTensor`s that the Python is called with.
        called: list, to which the results are appended in their order.
    """
    thread, before = threading.get_ident(), {name: getattr(keras_random, name) for name in NOTED}

    def noting(name, function):
        signature = inspect.signature(function)

        def draw(*args, **kwargs):
            if not keras_context.is_noting(thread):
                return function(*args, **kwargs)
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            called.append(_noted(name, bound.arguments, inputs))
            return called[-1]

        return draw

    try:
        for name, function in before.items():
            setattr(keras_random, name, noting(name, function))
        yield
    finally:
        for name, function in before.items():
            setattr(keras_random, name, function)


def _noted(name, arguments, inputs):
    seed, dtype = arguments.pop("seed"), arguments.pop("dtype", None)
    if seed is not None and type(seed) not in (int, _GENERATOR):
        raise TraceError(f"a draw from a {type(seed).__name__}")
    if name == "dropout":
        x, shape = arguments.pop("inputs"), arguments.pop("noise_shape")
        inputs, dtype = [x], keras.backend.standardize_dtype(x.dtype)
        shape, result = None if shape is None else _sizes(shape), tuple(x.shape)
    else:
        shape = result = _sizes(arguments.pop("shape"))
        dtype = keras.backend.standardize_dtype(dtype or keras.config.floatx())
    if ("float" in dtype) == (name == "randint") or (name == "randint" and dtype not in _WHOLE):
        raise TraceError(f"keras.random.{name} of {dtype}")
    if any(type(number) not in _NUMBERS for number in arguments.values()):
        raise TraceError(f"keras.random.{name} with more than numbers")
    if None in result[1:] and name != "dropout":
        raise TraceError("a draw in a shape that is not known")
    symbol = keras.KerasTensor(result, dtype)
    operation = Draw(name, seed, shape, dtype, dict(arguments))
    Node(operation, call_args=tuple(inputs), call_kwargs={}, outputs=symbol)
    return symbol


def _sizes(shape):
    if not isinstance(shape, (tuple, list)):
        raise TraceError("a draw in a shape that is no tuple")
    if any(size is not None and type(size) is not int for size in shape):
        raise TraceError("a draw in a shape that is not known")
    return tuple(shape)
