"""Layers that move, cut or reorder, and compute nothing."""

import math

from keras_dawn.foundation import keras_layers
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value
from keras_dawn.native.padding import pad_axes

import torch
from keras import layers


@rule(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
def zero_padding(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    ends = (layer.padding,) if value.rank == 3 else layer.padding
    node = builder.image(value, layer.data_format)
    torch_order = layer.data_format == "channels_last"
    if not any(number for pair in ends for number in pair):
        # As in Keras another tensor: somebody may change one of the two in place.
        return value.with_node(builder.call(torch.clone, node), torch_order=torch_order)
    if all(before == after for before, after in ends):
        # Left to whoever reads the value: a convolution pads for nothing.
        padding = tuple(before for before, _ in ends)
        return Value(node, value.rank, value.dtype, torch_order, padding, value.guessed)
    node = builder.call(pad_axes, node, tuple(map(tuple, ends)), name=call.name)
    return value.with_node(node, torch_order=torch_order)


@rule(layers.Cropping1D)
def cropping_1d(builder, layer, inputs, call):
    return _crop(builder, inputs[0], call, "channels_last", (layer.cropping,))


@rule(layers.Cropping2D, layers.Cropping3D)
def cropping(builder, layer, inputs, call):
    return _crop(builder, inputs[0], call, layer.data_format, layer.cropping)


def _crop(builder, value, call, data_format, ends):
    node = builder.image(value, data_format)
    node = builder.call(crop, node, tuple(map(tuple, ends)), name=call.name)
    return value.with_node(node, torch_order=data_format == "channels_last")


def crop(images, ends):
    """Images `(batch, channels, *axes)` without the `(first, last)` slices of each axis."""
    sizes = images.shape[2:]
    if any(sum(pair) >= size for size, pair in zip(sizes, ends, strict=True)):
        raise ValueError(
            "Values in `cropping` argument should be smaller than the corresponding spatial "
            f"dimension of the input. Received: axes of {tuple(sizes)}, cropping={ends}"
        )
    kept = [slice(first, size - last) for size, (first, last) in zip(sizes, ends, strict=True)]
    return images[(..., *kept)]


@rule(layers.Flatten)
def flatten(builder, layer, inputs, call):
    value = inputs[0]
    node = builder.keras_order(value)
    if value.rank == 1:
        return value.with_node(builder.call(torch.unsqueeze, node, 1, name=call.name), rank=2)
    if keras_layers.flattens_channels_first(layer) and value.rank > 2:
        # Keras puts the channels last before it flattens.
        order = (0, *range(2, value.rank), 1)
        node = builder.graph.call_method("permute", (node, *order))
    node = builder.call(torch.flatten, node, 1, name=call.name)
    return value.with_node(node, rank=2, torch_order=False)


@rule(layers.Reshape)
def reshape(builder, layer, inputs, call):
    value = inputs[0]
    # What the layer says now: its outputs in the graph have the shape that it said before.
    target = [-1 if size is None else int(size) for size in layer.target_shape]
    if math.prod(target) == 0:
        raise LoweringError("sizes of 0")
    node = builder.keras_order(value)
    if builder.for_one_layer and value.rank > 1:
        node = builder.call(reshaped, node, tuple(target), name=call.name)
        return value.with_node(node, rank=len(target) + 1, torch_order=False)
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


def reshaped(x, target):
    """Each sample of `x` in another shape: by itself a view wherever torch can take one."""
    size = math.prod(x.shape[1:]) // -math.prod(target) if -1 in target and x.shape[0] == 0 else -1
    return x.reshape(x.shape[0], *(size if axis == -1 else axis for axis in target))


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
