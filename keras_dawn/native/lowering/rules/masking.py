"""Layers that make masks, and the operations that Keras's symbolic calls make masks with."""

from keras_dawn.native.lowering.graph import LoweringError, Value
from keras_dawn.native.lowering.masks import mask_rule
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.operators import as_number

import torch
from keras import layers


@mask_rule(layers.Embedding)
def mask_of_embedding(builder, layer, value, mask):
    for name in ("mask_zero", "supports_masking"):
        builder.reads.note(layer, name, getattr(layer, name))
    if not layer.mask_zero or not layer.supports_masking:
        return [None]
    return [builder.call(torch.ne, builder.keras_order(value), 0)]


def steps_that_count(x, mask_value):
    """`(batch, time)` of bool: the steps of which not all numbers are the mask's value."""
    return torch.any(x != mask_value, -1)


@rule(layers.Masking)
def masking(builder, layer, inputs, call):
    node = builder.keras_order(inputs[0])
    counts = builder.call(steps_that_count, node, as_number(layer.mask_value))
    counts = builder.call(torch.unsqueeze, counts, -1)
    node = builder.call(torch.where, counts, node, 0, name=call.name)
    return inputs[0].with_node(node, torch_order=False)


@mask_rule(layers.Masking)
def mask_of_masking(builder, layer, value, mask):
    value = builder.cast(value, layer.compute_dtype) if layer.autocast else value
    number = as_number(layer.mask_value)
    return [builder.call(steps_that_count, builder.keras_order(value), number)]


@rule("keras.src.ops.numpy.NotEqual")
def not_equal(builder, operation, inputs, call):
    """`keras.ops.not_equal(x, number)`."""
    if call.kwargs or len(inputs) != 1 or not isinstance(call.args[0], Value):
        raise LoweringError("not of a tensor and a number")
    value = builder.padded(inputs[0])
    node = builder.call(torch.ne, value.node, as_number(call.args[1]), name=call.name)
    return Value(node, value.rank, "bool", value.torch_order)


@rule("keras.src.ops.numpy.Any")
def any_of(builder, operation, inputs, call):
    """`keras.ops.any(x, axis)`."""
    axes = operation.axis
    if axes is None or len(axes) != 1:
        raise LoweringError("not along one axis")
    node = builder.keras_order(inputs[0])
    node = builder.call(torch.any, node, int(axes[0]), operation.keepdims, name=call.name)
    return Value(node, len(call.output.shape), "bool")
