"""Random changes of a batch of images: moved, turned, tilted, cropped, with parts erased."""

from keras_dawn.native.lowering import draws, moves, warps
from keras_dawn.native.lowering.dtypes import HALF, is_float, torch_dtype
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.randomness import generator_of
from keras_dawn.native.lowering.rules.resizing import cut_and_resize
from keras_dawn.native.lowering.values import LoweringError

import keras
import torch
from keras import layers


def augment(builder, layer, inputs, call, function, *settings):
    """A layer that does `function(images, state, *settings)` in training, and else nothing.

    The images are `(batch, height, width, channels)` in the layer's dtype.
    """
    value = builder.to(_batch(inputs), layer.compute_dtype)
    if not call.training:
        return value
    node = builder.keras_order(value)
    if layer.data_format == "channels_first":
        node = builder.graph.call_method("permute", (node, 0, 2, 3, 1))
    state = generator_of(builder, layer.generator)
    node = builder.call(function, node, state, *settings, name=call.name)
    if layer.data_format == "channels_first":
        node = builder.graph.call_method("permute", (node, 0, 3, 1, 2))
    return value.with_node(node, torch_order=False)


def _batch(inputs):
    (value,) = inputs
    if value.rank != 4:
        raise LoweringError("a single image")
    return value


def of_floats(inputs):
    """The inputs, if they are one batch of images in floats."""
    value = _batch(inputs)
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    return [value]


def drawing_dtype():
    """The dtype of Keras's draws where none is said."""
    return torch_dtype(keras.config.floatx())


@rule(layers.RandomFlip)
def random_flip(builder, layer, inputs, call):
    axes = {"horizontal": (2,), "vertical": (1,)}.get(layer.mode, (1, 2))
    return augment(builder, layer, inputs, call, flip, axes, drawing_dtype())


def flip(images, state, axes, dtype):
    """Flips half of the images, each along all of some axes."""
    # One draw for both axes, as in Keras: an image is flipped along both or along none.
    flips = draws.uniform(state, images, (None, 1, 1, 1), dtype=dtype) <= 0.5
    return torch.where(flips, images.flip(axes), images)


def _warp(builder, layer, inputs, call, function, *settings):
    how = layer.interpolation, layer.fill_mode, layer.fill_value
    if layer.fill_mode not in warps.BEYOND or layer.interpolation not in ("nearest", "bilinear"):
        raise LoweringError(f"{how}")
    return augment(builder, layer, inputs, call, function, how, *settings, drawing_dtype())


@rule(layers.RandomRotation)
def random_rotation(builder, layer, inputs, call):
    low, high = (360.0 * part for part in layer.factor)
    return _warp(builder, layer, inputs, call, rotate, low, high)


def rotate(images, state, how, low, high, dtype):
    """Turns images by degrees between two numbers; `how` is for `warps.warp`."""
    angles = draws.uniform(state, images, (None,), low, high, dtype)
    return warps.warp(images, moves.Turn(angles), dtype, *how)


@rule(layers.RandomZoom)
def random_zoom(builder, layer, inputs, call):
    height = 1.0 + layer.height_lower, 1.0 + layer.height_upper
    width = None
    if layer.width_factor is not None:
        width = 1.0 + layer.width_lower, 1.0 + layer.width_upper
    return _warp(builder, layer, inputs, call, zoom, height, width)


def zoom(images, state, how, height, width, dtype):
    """Zooms by factors from two ranges, or from one if `width` is `None`."""
    # Rows before columns, here and below: the order of the draws is Keras's.
    down = draws.uniform(state, images, (None, 1), *height, dtype)
    across = down if width is None else draws.uniform(state, images, (None, 1), *width, dtype)
    factors = torch.cat([across, down], 1).float()
    return warps.warp(images, moves.Zoom(factors), dtype, *how)


@rule(layers.RandomTranslation)
def random_translation(builder, layer, inputs, call):
    height = layer.height_lower, layer.height_upper
    width = layer.width_lower, layer.width_upper
    return _warp(builder, layer, inputs, call, translate, height, width)


def translate(images, state, how, height, width, dtype):
    """Moves images by fractions of their height and width."""
    rows, columns = images.shape[1:3]
    down = draws.uniform(state, images, (None, 1), *height, dtype) * rows
    across = draws.uniform(state, images, (None, 1), *width, dtype) * columns
    distances = torch.cat([across, down], 1).float()
    return warps.warp(images, moves.Shift(distances), dtype, *how)


@rule(layers.RandomShear)
def random_shear(builder, layer, inputs, call):
    return _warp(builder, layer, inputs, call, shear, tuple(layer.x_factor), tuple(layer.y_factor))


def shear(images, state, how, x_factor, y_factor, dtype):
    """Shears images along both axes, each in either direction."""
    own = images.dtype
    # Signs, then y, then x: the order of Keras's draws.
    signs = torch.where(draws.uniform(state, images, (None, 1), 0, 1, own) > 0.5, -1, 1)
    y = draws.uniform(state, images, (None, 1), *y_factor, own)
    x = draws.uniform(state, images, (None, 1), *x_factor, own)
    factors = torch.cat([x, y], 1) * signs
    return warps.warp(images, moves.Shear(factors.to(dtype)), dtype, *how)


@rule(layers.RandomPerspective)
def random_perspective(builder, layer, inputs, call):
    if layer.compute_dtype in HALF:
        raise LoweringError(f"in {layer.compute_dtype}")
    settings = tuple(layer.factor), 0.5 * layer.scale, layer.interpolation, layer.fill_value
    return augment(builder, layer, of_floats(inputs), call, tilt, *settings, drawing_dtype())


def tilt(images, state, chance, most, mode, fill_value, dtype):
    """Moves the corners of some of the images, each by a fraction of where it is."""
    chosen = chosen_images(images, state, *chance, dtype)
    # Drawn for all, also for images that stay as they are: so does Keras.
    fractions = draws.uniform(state, images, (None, 4, 2), -most, most, images.dtype)
    height, width = images.shape[1:3]
    corners = [[0, 0], [width - 1, 0], [0, height - 1], [width - 1, height - 1]]
    starts = torch.tensor(corners, dtype=images.dtype, device=images.device)
    starts = starts.expand(len(images), 4, 2)
    tilted = warps.tilt(images, starts, starts + starts * fractions, mode, fill_value)
    return torch.where(chosen, tilted, images)


@rule(layers.RandomCrop)
def random_crop(builder, layer, inputs, call):
    inputs = of_floats(inputs)
    if not call.training:
        return inputs[0]
    size = int(layer.height), int(layer.width)
    as_view = builder.for_one_layer  # inside Python of the user's, who may write into one of them
    return augment(builder, layer, inputs, call, crop, size, drawing_dtype(), as_view)


def crop(images, state, size, dtype, as_view=False):
    """Cuts one window at random out of all images, or their middles if they are too small.

    Args:
        as_view: bool, whether on a CPU the window is to be a view of the images, as in Keras.
    """
    height, width = size
    rows, columns = images.shape[1:3]
    if rows > height and columns > width:
        for axis, (kept, whole) in enumerate(((height, rows), (width, columns)), 1):
            start = draws.uniform(state, images, (1,), 0, float(whole - kept + 1), dtype)
            if as_view and images.device.type == "cpu":
                images = images.narrow(axis, int(start), kept)
                continue
            index = start.to(torch.int32) + torch.arange(kept, device=images.device)
            # By an index on the device: a slice would need the number on the host.
            images = images.index_select(axis, index)
        return images
    top = int((rows - max(min(rows, int(columns * height / width)), 1)) / 2)
    left = int((columns - max(min(columns, int(rows * width / height)), 1)) / 2)
    images = images[:, top : top + height, left : left + width]
    return cut_and_resize(images.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1)


@rule(layers.RandomErasing)
def random_erasing(builder, layer, inputs, call):
    fill = layer.fill_value
    if isinstance(fill, (tuple, list)) and layer.data_format == "channels_first":
        raise LoweringError("a colour to fill with, in channels_first")
    settings = (
        tuple(layer.factor),
        tuple(layer.scale),
        tuple(fill) if isinstance(fill, list) else fill,
        tuple(layer.value_range),
        layer.data_format == "channels_first",
        drawing_dtype(),
    )
    return augment(builder, layer, of_floats(inputs), call, erase, *settings)


def erase(images, state, chance, scale, fill, value_range, channels_first, dtype):
    """Fills a rectangle in some of the images, with noise or with a number.

    Noise is drawn in the order of axes that the layer has.
    """
    own = images.dtype
    # The root: a fraction of the area, as a fraction of each side.
    fractions = torch.sqrt(draws.uniform(state, images, (None, 2), *scale, own))
    inside = True
    for axis, fraction in ((2, fractions[:, 0]), (1, fractions[:, 1])):
        size = images.shape[axis]
        length = fraction * size
        first = draws.uniform(state, images, (None,), 0, 1, own) * (size - length)
        places = torch.arange(size, dtype=own, device=images.device)
        within = (places >= first[:, None]) & (places < (first + length)[:, None])
        inside = inside & (within[:, None, :, None] if axis == 2 else within[:, :, None, None])
    chosen = chosen_images(images, state, *chance, dtype)
    if fill is None:
        like = images.permute(0, 3, 1, 2) if channels_first else images
        noise = draws.normal_like(state, like, 0.0, 1.0) * value_range[1]
        fill = noise.permute(0, 2, 3, 1) if channels_first else noise
    else:
        fill = torch.tensor(fill, dtype=own, device=images.device)
    return torch.where(chosen & inside, fill.clamp(*value_range), images)


def chosen_images(images, state, low, high, dtype):
    """Which images are changed: each with a chance between two numbers, drawn for it."""
    chances = draws.uniform(state, images, (None, 1, 1, 1), low, high, dtype)
    return draws.uniform(state, images, (None, 1, 1, 1), dtype=dtype) < chances
