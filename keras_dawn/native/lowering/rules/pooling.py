"""Pooling and resizing of images."""

from keras_dawn.native.lowering.graph import LoweringError, Value
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.convolutions import resolve_padding, spatial_sizes

import torch
import torch.nn.functional as F
from keras import layers


def _pool(builder, layer, inputs, call, function, *rest):
    geometry = (tuple(layer.pool_size), tuple(layer.strides), (1, 1))
    sizes = spatial_sizes(call.shapes[0], layer.data_format)
    value = builder.padded(inputs[0])
    node, padding = resolve_padding(
        builder, value, layer.data_format, layer.padding, sizes, geometry, mode="replicate"
    )
    node = builder.call(function, node, *geometry[:2], padding, *rest, name=call.name)
    return Value(node, 4, value.dtype, layer.data_format == "channels_last")


@rule(layers.MaxPooling2D)
def max_pooling(builder, layer, inputs, call):
    return _pool(builder, layer, inputs, call, F.max_pool2d)


@rule(layers.AveragePooling2D)
def average_pooling(builder, layer, inputs, call):
    return _pool(builder, layer, inputs, call, F.avg_pool2d, False, False)


def _global_pool(builder, layer, inputs, call, function):
    node = builder.image(inputs[0], layer.data_format)
    node = builder.call(function, node, (2, 3), bool(layer.keepdims), name=call.name)
    rank = 4 if layer.keepdims else 2
    keeps = layer.keepdims and layer.data_format == "channels_last"
    return Value(node, rank, inputs[0].dtype, keeps)


@rule(layers.GlobalAveragePooling2D)
def global_average_pooling(builder, layer, inputs, call):
    return _global_pool(builder, layer, inputs, call, torch.mean)


@rule(layers.GlobalMaxPooling2D)
def global_max_pooling(builder, layer, inputs, call):
    return _global_pool(builder, layer, inputs, call, torch.amax)


@rule(layers.UpSampling2D)
def up_sampling(builder, layer, inputs, call):
    if layer.interpolation != "nearest":
        raise LoweringError(f"interpolation={layer.interpolation!r}")
    node = builder.image(inputs[0], layer.data_format)
    factors = tuple(float(factor) for factor in layer.size)
    node = builder.call(F.interpolate, node, None, factors, "nearest", name=call.name)
    return Value(node, 4, inputs[0].dtype, layer.data_format == "channels_last")
