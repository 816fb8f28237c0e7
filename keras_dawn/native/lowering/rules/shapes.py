"""Layers that move, cut or reorder, and compute nothing."""

from keras_dawn.native.lowering.graph import LoweringError, Value
from keras_dawn.native.lowering.rules import rule

import torch
from keras import layers


@rule(layers.ZeroPadding2D)
def zero_padding(builder, layer, inputs, call):
    (top, bottom), (left, right) = layer.padding
    value = builder.padded(inputs[0])
    node = builder.image(value, layer.data_format)
    torch_order = layer.data_format == "channels_last"
    if top == bottom and left == right:
        return Value(node, 4, value.dtype, torch_order, padding=(top, left))
    node = builder.call(torch._C._nn.pad, node, (left, right, top, bottom), name=call.name)
    return Value(node, 4, value.dtype, torch_order)


@rule(layers.Cropping2D)
def cropping(builder, layer, inputs, call):
    (top, bottom), (left, right) = layer.cropping
    node = builder.image(inputs[0], layer.data_format)
    rows = slice(top, -bottom if bottom else None)
    columns = slice(left, -right if right else None)
    every = slice(None)
    node = builder.call(crop, node, (every, every, rows, columns), name=call.name)
    return Value(node, 4, inputs[0].dtype, layer.data_format == "channels_last")


def crop(x, slices):
    """`x[slices]`."""
    return x[slices]


@rule(layers.Flatten)
def flatten(builder, layer, inputs, call):
    value = inputs[0]
    if layer.data_format == "channels_first" and value.rank > 2:
        # Keras puts the channels last before it flattens.
        order = (0, *range(2, value.rank), 1)
        node = builder.graph.call_method("permute", (builder.keras_order(value), *order))
    else:
        node = builder.keras_order(value)
    node = builder.call(torch.flatten, node, 1, name=call.name)
    return Value(node, 2, value.dtype)


@rule(layers.Reshape)
def reshape(builder, layer, inputs, call):
    target = [-1 if size is None else size for size in call.output.shape[1:]]
    if target.count(-1) > 1:
        target = list(layer.target_shape)
    node = builder.keras_order(inputs[0])
    # With one free axis torch cannot infer the batch too; unflatten keeps it.
    flat = builder.call(torch.flatten, node, 1)
    node = builder.graph.call_method("unflatten", (flat, 1, tuple(target)))
    return Value(node, len(target) + 1, inputs[0].dtype)


@rule(layers.Permute)
def permute(builder, layer, inputs, call):
    node = builder.keras_order(inputs[0])
    node = builder.graph.call_method("permute", (node, 0, *layer.dims))
    return Value(node, inputs[0].rank, inputs[0].dtype)


@rule(layers.RepeatVector)
def repeat_vector(builder, layer, inputs, call):
    node = builder.call(torch.unsqueeze, builder.keras_order(inputs[0]), 1)
    node = builder.graph.call_method("expand", (node, -1, layer.n, -1))
    return Value(node, 3, inputs[0].dtype)


@rule(layers.Identity)
def identity(builder, layer, inputs, call):
    return inputs[0]


@rule(
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.ActivityRegularization,
)
def only_in_training(builder, layer, inputs, call):
    if call.training:
        raise LoweringError("in training")
    return inputs[0]
