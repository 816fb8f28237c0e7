"""Pooling and resizing of images."""

from keras_dawn.foundation import keras_internals
from keras_dawn.native.lowering.dtypes import is_float, result_type
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.convolutions import (
    pad_same,
    resolve_padding,
    same_padding,
    spatial_sizes,
)

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
    return value.with_node(node, torch_order=layer.data_format == "channels_last")


@rule(layers.MaxPooling2D)
def max_pooling(builder, layer, inputs, call):
    return _pool(builder, layer, inputs, call, torch.max_pool2d)


def average_of_pixels(images, kernel, stride):
    """Averages over the pixels under "same", not over the padding: Keras from 3.16 on."""
    sizes = zip(images.shape[2:], kernel, stride, strict=True)
    pairs = [same_padding(*each) for each in sizes]
    if all(before == after for before, after in pairs):
        padding = [before for before, _ in pairs]
        return F.avg_pool2d(images, kernel, stride, padding, False, False)
    counted = (pad_same(each, kernel, stride) for each in (images, torch.ones_like(images)))
    sums, counts = (F.avg_pool2d(each, kernel, stride) for each in counted)
    return sums / counts


@rule(layers.AveragePooling2D)
def average_pooling(builder, layer, inputs, call):
    if layer.padding == "same" and keras_internals.VERSION >= (3, 16):
        value = builder.padded(inputs[0])
        node = builder.image(value, layer.data_format)
        geometry = tuple(layer.pool_size), tuple(layer.strides)
        node = builder.call(average_of_pixels, node, *geometry, name=call.name)
        return value.with_node(node, torch_order=layer.data_format == "channels_last")
    return _pool(builder, layer, inputs, call, F.avg_pool2d, False, False)


def _global_pool(builder, layer, inputs, call, function):
    value = inputs[0]
    if function is torch.mean and not is_float(value.dtype):
        value = builder.to(value, result_type(value.dtype, "float32"))
    node = builder.image(value, layer.data_format)
    node = builder.call(function, node, (2, 3), bool(layer.keepdims), name=call.name)
    rank = 4 if layer.keepdims else 2
    keeps = layer.keepdims and layer.data_format == "channels_last"
    return value.with_node(node, rank=rank, torch_order=keeps)


@rule(layers.GlobalAveragePooling2D)
def global_average_pooling(builder, layer, inputs, call):
    return _global_pool(builder, layer, inputs, call, torch.mean)


@rule(layers.GlobalMaxPooling2D)
def global_max_pooling(builder, layer, inputs, call):
    return _global_pool(builder, layer, inputs, call, torch.amax)


@rule(layers.UpSampling2D)
def up_sampling(builder, layer, inputs, call):
    value = inputs[0]
    if layer.interpolation != "nearest":
        raise LoweringError(f"interpolation={layer.interpolation!r}")
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    if max(layer.size) > 32:  # torch divides by the factor in float32, and misses some pixels
        raise LoweringError(f"by {max(layer.size)}")
    node = builder.image(value, layer.data_format)
    factors = tuple(float(factor) for factor in layer.size)
    node = builder.call(F.interpolate, node, None, factors, "nearest", name=call.name)
    return value.with_node(node, torch_order=layer.data_format == "channels_last")
