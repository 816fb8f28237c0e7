"""Layers that move, cut or reorder, and compute nothing."""

import math

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
        return Value(node, 4, value.dtype, torch_order, (top, left), value.guessed)
    node = builder.call(torch._C._nn.pad, node, (left, right, top, bottom), name=call.name)
    return value.with_node(node, torch_order=torch_order)


@rule(layers.Cropping2D)
def cropping(builder, layer, inputs, call):
    node = builder.image(inputs[0], layer.data_format)
    node = builder.call(crop, node, *layer.cropping, name=call.name)
    return inputs[0].with_node(node, torch_order=layer.data_format == "channels_last")


def crop(images, rows, columns):
    """Images `(batch, channels, height, width)` without the first and last rows and columns."""
    height, width = images.shape[2:]
    if sum(rows) >= height or sum(columns) >= width:
        raise ValueError(
            "Values in `cropping` argument should be smaller than the corresponding spatial "
            f"dimension of the input. Received: {height} × {width} pixels, "
            f"cropping={(rows, columns)}"
        )
    return images[:, :, rows[0] : height - rows[1], columns[0] : width - columns[1]]


@rule(layers.Flatten)
def flatten(builder, layer, inputs, call):
    value = inputs[0]
    node = builder.keras_order(value)
    if value.rank == 1:
        return value.with_node(builder.call(torch.unsqueeze, node, 1, name=call.name), rank=2)
    if layer.data_format == "channels_first" and value.rank > 2:
        # Keras puts the channels last before it flattens.
        order = (0, *range(2, value.rank), 1)
        node = builder.graph.call_method("permute", (node, *order))
    node = builder.call(torch.flatten, node, 1, name=call.name)
    return value.with_node(node, rank=2, torch_order=False)


@rule(layers.Reshape)
def reshape(builder, layer, inputs, call):
    value = inputs[0]
    target = [-1 if size is None else size for size in call.output.shape[1:]]
    if target.count(-1) > 1:
        target = list(layer.target_shape)
    if math.prod(target) == 0:
        raise LoweringError("sizes of 0")
    node = builder.keras_order(value)
    # With one free axis torch cannot infer the batch too; unflatten keeps it.
    if value.rank == 1:
        flat = builder.call(torch.unsqueeze, node, 1)
    else:
        flat = builder.call(torch.flatten, node, 1)
    if target:
        node = builder.graph.call_method("unflatten", (flat, 1, tuple(target)))
    else:
        node = builder.call(torch.squeeze, flat, 1)
    return value.with_node(node, rank=len(target) + 1, torch_order=False)


@rule(layers.Permute)
def permute(builder, layer, inputs, call):
    node = builder.keras_order(inputs[0])
    node = builder.graph.call_method("permute", (node, 0, *layer.dims))
    return inputs[0].with_node(node, torch_order=False)


@rule(layers.RepeatVector)
def repeat_vector(builder, layer, inputs, call):
    node = builder.call(torch.unsqueeze, builder.keras_order(inputs[0]), 1)
    node = builder.graph.call_method("expand", (node, -1, layer.n, -1))
    return inputs[0].with_node(node, rank=3)


@rule(layers.Identity)
def identity(builder, layer, inputs, call):
    return inputs[0]
