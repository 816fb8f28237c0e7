"""Layers and operators that join several tensors, or a tensor and a number."""

import functools

from keras_dawn.native.lowering.graph import LoweringError, Value
from keras_dawn.native.lowering.rules import rule

import torch
from keras import layers


def same_order(builder, values):
    """Nodes of several values in one order of axes, and whether that is torch's."""
    images = all(value.rank == 4 for value in values)
    if images and any(value.torch_order for value in values):
        return [builder.image(value, "channels_last") for value in values], True
    return [builder.keras_order(value) for value in values], False


def _fold(builder, inputs, call, function, scale=None):
    ranks = {value.rank for value in inputs}
    if len(ranks) > 1:
        raise LoweringError("inputs of different ranks")
    nodes, torch_order = same_order(builder, inputs)
    *first, last = nodes[1:]
    node = functools.reduce(lambda a, b: builder.call(function, a, b), first, nodes[0])
    node = builder.call(function, node, last, name=None if scale else call.name)
    if scale:
        node = builder.call(torch.mul, node, scale, name=call.name)
    return Value(node, inputs[0].rank, inputs[0].dtype, torch_order)


@rule(layers.Add)
def add(builder, layer, inputs, call):
    return _fold(builder, inputs, call, torch.add)


@rule(layers.Subtract)
def subtract(builder, layer, inputs, call):
    return _fold(builder, inputs, call, torch.sub)


@rule(layers.Multiply)
def multiply(builder, layer, inputs, call):
    return _fold(builder, inputs, call, torch.mul)


@rule(layers.Average)
def average(builder, layer, inputs, call):
    return _fold(builder, inputs, call, torch.add, scale=1.0 / len(inputs))


@rule(layers.Maximum)
def maximum(builder, layer, inputs, call):
    return _fold(builder, inputs, call, torch.maximum)


@rule(layers.Minimum)
def minimum(builder, layer, inputs, call):
    return _fold(builder, inputs, call, torch.minimum)


@rule(layers.Concatenate)
def concatenate(builder, layer, inputs, call):
    nodes, torch_order = same_order(builder, inputs)
    rank = inputs[0].rank
    axis = layer.axis if layer.axis >= 0 else layer.axis + rank
    if torch_order:
        axis = (0, 2, 3, 1)[axis]
    node = builder.call(torch.cat, nodes, axis, name=call.name)
    return Value(node, rank, inputs[0].dtype, torch_order)


OPERATORS = {
    "Add": torch.add,
    "Subtract": torch.sub,
    "Multiply": torch.mul,
    "TrueDivide": torch.div,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}


@rule(*(f"keras.src.ops.numpy.{name}" for name in OPERATORS))
def operator_between(builder, operation, inputs, call):
    """`x + y`, `x * 0.5` and the like, written on Keras tensors."""
    function = OPERATORS[type(operation).__name__]
    if call.kwargs or len(call.args) != 2:
        raise LoweringError("keyword arguments")
    values = [argument for argument in call.args if isinstance(argument, Value)]
    numbers = [a for a in call.args if not isinstance(a, Value)]
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        raise LoweringError("an operand that is neither a tensor nor a number")
    if numbers and function in (torch.maximum, torch.minimum):
        raise LoweringError("a number")
    if len({value.rank for value in values}) > 1 or len({v.dtype for v in values}) > 1:
        raise LoweringError("operands of different ranks or dtypes")
    if "float" not in values[0].dtype:
        raise LoweringError("integers")
    nodes, torch_order = same_order(builder, values)
    nodes = iter(nodes)
    arguments = [next(nodes) if isinstance(a, Value) else a for a in call.args]
    if numbers and not isinstance(call.args[0], Value) and function is torch.div:
        raise LoweringError("a number divided by a tensor")
    if numbers and not isinstance(call.args[0], Value) and function is torch.sub:
        node = builder.call(torch.rsub, arguments[1], arguments[0], name=call.name)
    else:
        if not isinstance(call.args[0], Value):
            arguments.reverse()
        node = builder.call(function, *arguments, name=call.name)
    return Value(node, values[0].rank, values[0].dtype, torch_order)
