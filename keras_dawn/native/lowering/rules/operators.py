"""Operators and everyday operations, written on Keras tensors: `x * 0.5`, `-x`, `x[:, 1:]`."""

import operator

from keras_dawn.native.lowering.dtypes import is_float, promoted, result_type
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.merging import same_order
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import numpy as np
import torch

BETWEEN = {
    "Add": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "TrueDivide": torch.div,
    "Divide": torch.div,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
    "Power": torch.pow,
}
CASTING = (torch.maximum, torch.minimum)  # Keras casts to a dtype of its own
OF_ONE = {
    "numpy.Negative": torch.neg,
    "numpy.Absolute": torch.abs,
    "numpy.Abs": torch.abs,
    "numpy.Exp": torch.exp,
    "numpy.Log": torch.log,
    "numpy.Sqrt": torch.sqrt,
    "numpy.Square": torch.square,
    "numpy.Sin": torch.sin,
    "numpy.Cos": torch.cos,
    "numpy.Tanh": torch.tanh,
    "nn.Sigmoid": torch.sigmoid,
    "nn.Relu": torch.relu,
    "nn.Silu": torch.nn.functional.silu,
    "nn.Softplus": torch.nn.functional.softplus,
}


@rule(*(f"keras.src.ops.numpy.{name}" for name in BETWEEN))
def operator_between(builder, operation, inputs, call):
    """`x + y`, `x * 0.5`, `x / array` and the like."""
    function = BETWEEN[operation.__class__.__name__]
    if call.kwargs or len(call.args) != 2:
        raise LoweringError("keyword arguments")
    numbers = [_number(part, function) for part in call.args if not isinstance(part, Value)]
    dtypes = {value.dtype for value in inputs}
    # A quotient of integers is of floats, which `promoted` does not say.
    of_floats = numbers or function in (torch.pow, torch.div)
    if of_floats and not all(is_float(dtype) for dtype in dtypes):
        raise LoweringError("integers")
    casting = function in CASTING and result_type(*dtypes)
    if casting and not numbers and not any(value.guessed for value in inputs):
        inputs = [builder.to(value, casting) for value in inputs]
    if casting and any(value.guessed or value.dtype != casting for value in inputs):
        raise LoweringError("operands of different dtypes")
    if function is torch.sub and "bool" in dtypes:
        raise LoweringError("of bool")
    nodes, torch_order = same_order(builder, inputs)
    rank = max(value.rank for value in inputs)
    # Keras makes a number a tensor in float32, which beside another of no axes counts as much;
    # but not one that something is divided by.
    wide = function is not torch.div and any(isinstance(number, float) for number in numbers)
    if numbers and rank == 0 and (function is torch.pow or (wide and dtypes != {"float32"})):
        raise LoweringError("two numbers")
    if numbers and (casting or (function is torch.pow and not _is_small_power(call.args[1]))):
        number = keras.ops.convert_to_tensor(numbers[0], dtype=casting or None)
        numbers = [builder.constant(number, call.name)]
    nodes, numbers = iter(nodes), iter(numbers)
    arguments = [next(nodes if isinstance(part, Value) else numbers) for part in call.args]
    result = Value(builder.call(function, *arguments, name=call.name), rank, None, torch_order)
    result.dtype = promoted(*inputs)
    result.guessed = any(value.guessed for value in inputs)
    return result


def _is_small_power(exponent):
    """Whether torch computes a power alike by a number and by Keras's tensor of it.

    By 0.5 it takes a root, which is another one of -inf, and a large number is rounded in a tensor.
    """
    return not isinstance(exponent, Value) and exponent == int(exponent) and abs(exponent) < 128


def _number(argument, function):
    """A number as Keras reads it beside a float tensor: in the dtype that it converts it to."""
    if function is torch.div and type(argument) is float:
        return argument  # which it leaves as it is there
    if isinstance(argument, (bool, np.bool_)):
        raise LoweringError("a bool")
    if isinstance(argument, np.generic) and function in (*CASTING, torch.pow):
        raise LoweringError("a number of NumPy's, whose dtype counts")
    if isinstance(argument, (np.floating, np.integer, int)):
        return argument.item() if isinstance(argument, np.generic) else argument
    if isinstance(argument, float):
        return float(keras.ops.convert_to_tensor(argument))
    raise LoweringError(f"an operand of {type(argument).__name__}")


@rule(*(f"keras.src.ops.{name}" for name in OF_ONE))
def operation_of_one(builder, operation, inputs, call):
    """`-x`, `abs(x)`, `keras.ops.exp(x)` and the like, whatever the order of axes."""
    if call.kwargs or len(inputs) != 1:
        raise LoweringError("keyword arguments")
    value = builder.padded(inputs[0])
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    kind = operation.__class__  # the one that is recorded
    name = kind.__module__.rpartition(".")[2], kind.__name__
    return value.with_node(builder.call(OF_ONE[".".join(name)], value.node, name=call.name))


@rule("keras.src.ops.core.Cast")
def cast(builder, operation, inputs, call):
    return builder.to(inputs[0], keras.backend.standardize_dtype(operation.dtype))


@rule("keras.src.ops.numpy.GetItem")
def get_item(builder, operation, inputs, call):
    """`x[:, 1:]`, by numbers, slices, `None` and `...`."""
    (value,) = inputs
    key = call.args[1] if len(call.args) == 2 else None
    key = tuple(key) if isinstance(key, (list, tuple)) else (key,)
    key = tuple(_index(part) for part in key)
    node = builder.call(operator.getitem, builder.keras_order(value), key, name=call.name)
    return value.with_node(node, rank=len(call.output.shape), torch_order=False)


def _index(part):
    if part is None or part is ...:
        return part
    if isinstance(part, slice):
        parts = (part.start, part.stop, part.step)
        return slice(*(None if number is None else operator.index(number) for number in parts))
    if isinstance(part, bool):
        raise LoweringError("a bool as an index")
    return operator.index(part)
