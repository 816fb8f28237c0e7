"""Random changes of the brightness, the colours and the sharpness of a batch of images."""

from keras_dawn.native.lowering import color_spaces, draws
from keras_dawn.native.lowering.reads import Recorded
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.augmentation import (
    augment,
    chosen_images,
    drawing_dtype,
    of_floats,
)
from keras_dawn.native.lowering.rules.randomness import generator_of
from keras_dawn.native.lowering.values import LoweringError

import keras
import torch
from keras import layers


def _augment_and_count(builder, layer, inputs, call, draws_made, function, *settings):
    """Like `augment`, of a layer that Keras draws for in evaluation as well."""
    if not call.training and draws_made:
        # The generator counts on in evaluation: what is drawn in training after it depends on that.
        builder.call(draws.skip, generator_of(builder, layer.generator), draws_made)
    return augment(builder, layer, of_floats(inputs), call, function, *settings)


@rule(layers.RandomContrast)
def random_contrast(builder, layer, inputs, call):
    low, high = 1.0 - layer.factor[0], 1.0 + layer.factor[1]
    inputs = of_floats(inputs)
    return augment(builder, layer, inputs, call, contrast, low, high, tuple(layer.value_range))


def contrast(images, state, low, high, value_range):
    """Moves all pixels of an image away from their average, or towards it."""
    factors = draws.uniform(state, images, (None, 1, 1, 1), low, high, images.dtype)
    average = images.mean(1, keepdim=True).mean(2, keepdim=True)
    return ((images - average) * factors + average).clamp(*value_range)


@rule(layers.RandomBrightness)
def random_brightness(builder, layer, inputs, call):
    settings = (*layer.factor, tuple(layer.value_range), drawing_dtype())
    return augment(builder, layer, of_floats(inputs), call, brighten, *settings)


def brighten(images, state, low, high, value_range, dtype):
    """Adds a number to all pixels of an image, a fraction of the range of values."""
    fractions = draws.uniform(state, images, (None, 1, 1, 1), low, high, dtype)
    more = fractions * (value_range[1] - value_range[0])
    return (images + more.to(images.dtype)).clamp(*value_range)


@rule(layers.RandomGrayscale)
def random_grayscale(builder, layer, inputs, call):
    settings = float(layer.factor), drawing_dtype()
    return _augment_and_count(builder, layer, inputs, call, 1, turn_grey, *settings)


def turn_grey(images, state, fraction, dtype):
    """Turns a fraction of the images grey."""
    chosen = draws.uniform(state, images, (None, 1, 1, 1), dtype=dtype) < fraction
    return torch.where(chosen, color_spaces.grey(images), images)


@rule(layers.RandomColorDegeneration)
def random_color_degeneration(builder, layer, inputs, call):
    settings = (*layer.factor, tuple(layer.value_range), drawing_dtype())
    return _augment_and_count(builder, layer, inputs, call, 1, fade, *settings)


def fade(images, state, low, high, value_range, dtype):
    """Takes a fraction of the colour out of each image."""
    fractions = draws.uniform(state, images, (None, 1, 1, 1), low, high, dtype).to(images.dtype)
    return (images + fractions * (color_spaces.grey(images) - images)).clamp(*value_range)


@rule(layers.RandomSaturation)
def random_saturation(builder, layer, inputs, call):
    settings = (*layer.factor, tuple(layer.value_range), keras.config.epsilon(), drawing_dtype())
    return _augment_and_count(builder, layer, inputs, call, 1, saturate, *settings)


def saturate(images, state, low, high, value_range, epsilon, dtype):
    """Scales the saturation of each image."""
    fractions = draws.uniform(state, images, (None,), low, high, dtype)
    factors = (fractions / (1 - fractions + epsilon)).to(images.dtype)[:, None, None]
    hue, saturation, value = color_spaces.to_hsv(images)
    return color_spaces.to_rgb(hue, (saturation * factors).clamp(*value_range), value)


@rule(layers.RandomHue)
def random_hue(builder, layer, inputs, call):
    settings = (*layer.factor, tuple(layer.value_range), drawing_dtype())
    return _augment_and_count(builder, layer, inputs, call, 2, turn_hue, *settings)


def turn_hue(images, state, low, high, value_range, dtype):
    """Turns the hues of each image, in either direction."""
    signs = torch.where(draws.uniform(state, images, (None,), dtype=dtype) > 0.5, -1.0, 1.0)
    turns = signs * draws.uniform(state, images, (None,), low, high, dtype) * 0.5
    inside = images
    if tuple(value_range) != (0, 1):
        inside = color_spaces.to_range(images.float(), value_range, (0, 1))  # as Keras computes it
    hue, saturation, value = color_spaces.to_hsv(inside)
    hue = hue + turns.to(inside.dtype)[:, None, None]
    # Not `%`, which rounds otherwise than Keras's two comparisons.
    hue = torch.where(hue > 1.0, hue - 1.0, hue)
    hue = torch.where(hue < 0.0, hue + 1.0, hue)
    turned = color_spaces.to_rgb(hue, saturation, value).clamp(0, 1)
    return color_spaces.to_range(turned, (0, 1), value_range).to(images.dtype)


@rule(layers.RandomColorJitter)
def random_color_jitter(builder, layer, inputs, call):
    steps, dtype = [], drawing_dtype()
    if layer.data_format != keras.config.image_data_format():
        raise LoweringError("another order of axes than that of the layers inside")
    for name, function, more in (
        ("brightness", brighten, (dtype,)),
        ("contrast", _vary_contrast, ()),
        ("saturation", saturate, (keras.config.epsilon(), dtype)),
        ("hue", turn_hue, (dtype,)),
    ):
        if getattr(layer, f"{name}_factor") is not None:
            inner = Recorded(getattr(layer, f"random_{name}"), builder.reads)
            steps.append((function, (*inner.factor, tuple(inner.value_range), *more)))
    if not call.training:
        return of_floats(inputs)[0]
    (value,) = of_floats(inputs)
    for function, settings in steps:  # each draws from the outer layer's generator
        value = augment(builder, layer, [value], call, function, *settings)
    return value


def _vary_contrast(images, state, low, high, value_range):
    return contrast(images, state, 1.0 - low, 1.0 + high, value_range)


@rule(layers.RandomInvert)
def random_invert(builder, layer, inputs, call):
    settings = (*layer.factor, layer.value_range[1], drawing_dtype())
    return augment(builder, layer, of_floats(inputs), call, invert, *settings)


def invert(images, state, low, high, most, dtype):
    """Turns some of the images into their negatives."""
    return torch.where(chosen_images(images, state, low, high, dtype), most - images, images)


@rule(layers.RandomPosterization)
def random_posterization(builder, layer, inputs, call):
    low, high = layer.factor
    settings = low, high, tuple(layer.value_range)
    drawn = int(low != high)
    return _augment_and_count(builder, layer, inputs, call, drawn, posterize, *settings)


def posterize(images, state, low, high, value_range):
    """Leaves each image a number of bits between `low` and `high`."""
    if low == high:
        lost = 8 - low
    else:
        bits = draws.whole(state, images, (None, 1, 1, 1), low, high, torch.uint8)
        lost = 8 - bits
    bytes_ = color_spaces.to_range(images, value_range, (0, 255)).to(torch.uint8)
    kept = torch.bitwise_left_shift(torch.bitwise_right_shift(bytes_, lost), lost)
    return color_spaces.to_range(kept.to(images.dtype), (0, 255), value_range)


@rule(layers.RandomSharpness)
def random_sharpness(builder, layer, inputs, call):
    settings = (*layer.factor, tuple(layer.value_range), drawing_dtype())
    return _augment_and_count(builder, layer, inputs, call, 1, sharpen, *settings)


def sharpen(images, state, low, high, value_range, dtype):
    """Blurs or sharpens each image."""
    factors = draws.uniform(state, images, (None, 1, 1, 1), low, high, dtype)
    factors = (factors * 2).to(images.dtype)
    return (images + (1.0 - factors) * (color_spaces.smooth(images) - images)).clamp(*value_range)


@rule(layers.RandomGaussianBlur)
def random_gaussian_blur(builder, layer, inputs, call):
    if len(set(layer.kernel_size)) > 1:
        raise LoweringError("a kernel that is no square")
    settings = (
        *layer.factor,
        int(layer.kernel_size[0]),
        tuple(layer.sigma),
        tuple(layer.value_range),
        drawing_dtype(),
    )
    return augment(builder, layer, of_floats(inputs), call, blur_some, *settings)


def blur_some(images, state, low, high, size, sigma, value_range, dtype):
    """Blurs some of the images, all alike."""
    chosen = chosen_images(images, state, low, high, dtype)
    sigmas = draws.uniform(state, images, (2,), *sigma, images.dtype) + 1e-6
    return torch.where(chosen, color_spaces.blur(images, size, sigmas), images).clamp(*value_range)


@rule(layers.Solarization)
def solarization(builder, layer, inputs, call):
    settings = tuple(layer.addition_factor), tuple(layer.threshold_factor)
    settings = *settings, tuple(layer.value_range)
    return augment(builder, layer, of_floats(inputs), call, solarize, *settings)


def solarize(images, state, additions, thresholds, value_range):
    """Brightens images and turns what is then above a threshold into its negative."""
    shape = None, 1, 1, 1
    more, threshold = (
        draws.uniform(state, images, shape, low, high * 255, images.dtype)
        for low, high in (additions, thresholds)
    )
    brighter = (color_spaces.to_range(images, value_range, (0, 255)) + more).clamp(0, 255)
    turned = torch.where(brighter < threshold, brighter, 255 - brighter)
    return color_spaces.to_range(turned, (0, 255), value_range)


@rule(layers.AutoContrast)
def auto_contrast(builder, layer, inputs, call):
    (value,) = of_floats(inputs)
    node = builder.keras_order(value)
    value_range = tuple(layer.value_range)
    node = builder.call(stretch_contrast, node, value_range, name=call.name)
    return value.with_node(node, torch_order=False)


def stretch_contrast(images, value_range):
    """Images whose numbers fill a range, along the second and third axis; `(batch, …, …, …)`."""
    wide = color_spaces.to_range(images, value_range, (0, 255))
    low, high = wide.amin((1, 2), True), wide.amax((1, 2), True)
    scale = 255.0 / (high - low)
    stretched = (wide * scale + -low * scale).clamp(0.0, 255.0)
    results = color_spaces.to_range(stretched, (0, 255), value_range)
    return torch.where(results.isnan(), images, results)  # an image of one number
