"""Making images, series and volumes larger or smaller."""

from keras_dawn.foundation import precision
from keras_dawn.native.lowering.dtypes import HALF, is_float
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError

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
    return _nearest(builder, layer, inputs[0], call)


@rule(layers.UpSampling2D)
def up_sampling_2d(builder, layer, inputs, call):
    if layer.interpolation == "nearest":
        return _nearest(builder, layer, inputs[0], call)
    if layer.interpolation not in SMOOTH:
        raise LoweringError(f"interpolation={layer.interpolation!r}")
    value = _smoothed(builder, inputs[0])
    node = builder.image(value, layer.data_format)
    settings = layer.interpolation, tuple(layer.size)
    node = builder.call(enlarge, node, *settings, name=call.name)
    value = value.with_node(node, torch_order=layer.data_format == "channels_last")
    return builder.to(value, inputs[0].dtype)


def _nearest(builder, layer, value, call):
    if set(layer.size) == {1}:
        return value  # as in Keras the same memory
    # torch divides by the factor in float32, and misses some pixels of a large one.
    if is_float(value.dtype) and max(layer.size) <= 32:
        node = builder.image(value, layer.data_format)
        factors = tuple(float(factor) for factor in layer.size)
        node = builder.call(F.interpolate, node, None, factors, "nearest", name=call.name)
        return value.with_node(node, torch_order=layer.data_format == "channels_last")
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
    # An axis of size 1 beside each, expanded and merged: one copy, where Keras makes one an axis.
    spread, repeated = [*images.shape[:first]], [*images.shape[:first]]
    for size, factor in zip(images.shape[first:], factors, strict=False):
        spread += (size, 1)
        repeated += (size, factor)
    rest = images.shape[first + len(factors) :]
    images = images.reshape(*spread, *rest).expand(*repeated, *rest)
    for axis in range(first, first + len(factors)):
        images = images.flatten(axis, axis + 1)
    return images


def enlarge(images, mode, factors):
    """Images `(batch, channels, height, width)`, some factors larger, as Keras does it.

    Args:
        images: float32 or float64 tensor.
        mode: `"bilinear"` or `"bicubic"`.
        factors: of height and width.
    """
    size = [old * factor for old, factor in zip(images.shape[2:], factors, strict=True)]
    return F.interpolate(images, size, None, mode, False)


MODES = {"bilinear": "bilinear", "bicubic": "bicubic", "nearest": "nearest-exact"}


@rule(layers.Resizing)
def resizing(builder, layer, inputs, call):
    value = _smoothed(builder, _of_four_axes(inputs[0]))
    if layer.interpolation not in MODES or layer.fill_mode != "constant":
        raise LoweringError(f"interpolation={layer.interpolation!r}, {layer.fill_mode!r}")
    ratio = [name for name in ("crop", "pad") if getattr(layer, f"{name}_to_aspect_ratio")]
    if len(ratio) > 1:
        raise LoweringError("both cropped and padded")
    node = builder.call(
        resized,
        builder.image(value, layer.data_format),
        (int(layer.height), int(layer.width)),
        MODES[layer.interpolation],
        ratio[0] if ratio else None,
        layer.fill_value,
        layer.antialias and layer.interpolation in SMOOTH,
        name=call.name,
    )
    value = value.with_node(node, torch_order=layer.data_format == "channels_last")
    return builder.to(value, inputs[0].dtype)


@rule(layers.CenterCrop)
def center_crop(builder, layer, inputs, call):
    value = builder.to(_of_four_axes(inputs[0]), layer.compute_dtype)
    size = int(layer.height), int(layer.width)
    node = builder.image(value, layer.data_format)
    node = builder.call(middle, node, size, name=call.name)
    return value.with_node(node, torch_order=layer.data_format == "channels_last")


def _of_four_axes(value):
    if value.rank != 4:
        raise LoweringError("a single image")
    return value


def middle(images, size):
    """The middles of images `(batch, channels, height, width)`; smaller images are resized."""
    first = [old - new for old, new in zip(images.shape[2:], size, strict=True)]
    if min(first) < 0:
        return cut_and_resize(images, size, ratio="crop")
    top, left = first[0] // 2, first[1] // 2
    return images[:, :, top : top + size[0], left : left + size[1]]


def resized(images, *settings):
    """`cut_and_resize`; in the place of images that have their size already a copy, as in Keras."""
    made = cut_and_resize(images, *settings)
    return images.clone() if made is images else made


def cut_and_resize(images, size, mode="bilinear", ratio=None, fill_value=0.0, antialias=False):
    """Images at a size, cropped or padded before to its ratio of height and width if asked.

    Args:
        images: `(batch, channels, height, width)`, floats.
        size: `(height, width)`.
        mode: `"bilinear"`, `"bicubic"` or `"nearest-exact"`.
        ratio: `"crop"`, `"pad"` or `None`.
        fill_value: float, what is padded with.
        antialias: bool.
    """
    rows, columns = images.shape[2:]
    # The sides that the images have at that ratio, from the one side and from the other.
    height, width = int(columns * size[0] / size[1]), int(rows * size[1] / size[0])
    if ratio == "crop":
        height, width = max(min(rows, height), 1), max(min(columns, width), 1)
        top, left = int((rows - height) / 2), int((columns - width) / 2)
        images = images[:, :, top : top + height, left : left + width]
    elif ratio == "pad":
        top, left = int((max(rows, height) - rows) / 2), int((max(columns, width) - columns) / 2)
        images = F.pad(images, (left, left, top, top), value=fill_value)
    if images.shape[2:] == size and ratio is None and not antialias:
        return images
    wide = images.float() if images.dtype in precision.HALF else images
    corners = False if mode in SMOOTH else None
    made = F.interpolate(wide, size, None, mode, corners, antialias=antialias)
    return made.to(images.dtype)
