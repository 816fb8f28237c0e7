"""Making images, series and volumes larger or smaller."""

from keras_dawn.native.lowering.dtypes import HALF, is_float
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.lowering.rules import rule

import torch.nn.functional as F
from keras import layers

SMOOTH = ("bilinear", "bicubic")


@rule(layers.UpSampling1D)
def up_sampling_1d(builder, layer, inputs, call):
    node = builder.keras_order(inputs[0])
    node = builder.call(repeat_axes, node, 1, (int(layer.size),), name=call.name)
    return inputs[0].with_node(node, torch_order=False)


@rule(layers.UpSampling3D)
def up_sampling_3d(builder, layer, inputs, call):
    return _repeat(builder, layer, inputs[0], call)


@rule(layers.UpSampling2D)
def up_sampling_2d(builder, layer, inputs, call):
    value = inputs[0]
    if layer.interpolation == "nearest":
        # torch divides by the factor in float32, and misses some pixels of a large one.
        if not is_float(value.dtype) or max(layer.size) > 32:
            return _repeat(builder, layer, value, call)
        factors = tuple(float(factor) for factor in layer.size)
        arguments = F.interpolate, builder.image(value, layer.data_format), None, factors, "nearest"
    elif layer.interpolation in SMOOTH:
        value = _smoothed(builder, value)
        node = builder.image(value, layer.data_format)
        arguments = resize, node, None, layer.interpolation, tuple(layer.size)
    else:
        raise LoweringError(f"interpolation={layer.interpolation!r}")
    node = builder.call(*arguments, name=call.name)
    value = value.with_node(node, torch_order=layer.data_format == "channels_last")
    return builder.to(value, inputs[0].dtype)


def _repeat(builder, layer, value, call):
    first = 1 if layer.data_format == "channels_last" else 2
    node = builder.keras_order(value)
    node = builder.call(repeat_axes, node, first, tuple(layer.size), name=call.name)
    return value.with_node(node, torch_order=False)


def _smoothed(builder, value):
    """The value in a dtype that Keras interpolates in."""
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    return builder.to(value, "float32") if value.dtype in HALF else value


def repeat_axes(images, first, factors):
    """Each slice of some neighbouring axes, from `first` on, repeated `factors` times."""
    spread, repeated = [*images.shape[:first]], [*images.shape[:first]]
    for size, factor in zip(images.shape[first:], factors, strict=False):
        spread += (size, 1)
        repeated += (size, factor)
    rest = images.shape[first + len(factors) :]
    images = images.reshape(*spread, *rest).expand(*repeated, *rest)
    for axis in range(first, first + len(factors)):
        images = images.flatten(axis, axis + 1)
    return images


def resize(images, size, mode, factors=(1, 1)):
    """Images `(batch, channels, height, width)` at a size, or some factors larger, as Keras does.

    Args:
        images: float32 or float64 tensor.
        size: `(height, width)`, or `None` for factors.
        mode: `"bilinear"`, `"bicubic"` or `"nearest-exact"`.
        factors: of height and width.
    """
    size = size or [old * factor for old, factor in zip(images.shape[2:], factors, strict=True)]
    corners = False if mode in SMOOTH else None
    return F.interpolate(images, size, None, mode, corners)
