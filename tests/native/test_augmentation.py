"""Random changes of images and other preprocessing on the batch, against the Keras layers."""

import keras_dawn
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.on_device import torch

FILLED = [
    (mode, fill) for mode in ("bilinear", "nearest") for fill in ("constant", "reflect", "wrap")
] + [("bilinear", "nearest")]


def filled(kind, *factors, **settings):
    return [
        lambda f, mode=mode, fill=fill: kind(
            *factors, interpolation=mode, fill_mode=fill, fill_value=0.3, data_format=f, **settings
        )
        for mode, fill in FILLED
    ]


LAYERS = [
    lambda f: layers.RandomFlip(data_format=f),
    lambda f: layers.RandomFlip("horizontal", seed=3, data_format=f),
    lambda f: layers.RandomFlip("vertical", data_format=f),
    *filled(layers.RandomRotation, 0.2),
    *filled(layers.RandomZoom, 0.4),
    *filled(layers.RandomZoom, (-0.4, 0.2), (0.1, 0.3)),
    *filled(layers.RandomTranslation, 0.3, (-0.2, 0.5)),
    *filled(layers.RandomShear, 0.4, 0.2),
    lambda f: layers.RandomContrast(0.7, value_range=(-1, 1), data_format=f),
    lambda f: layers.RandomContrast((0.1, 0.3), seed=1, data_format=f),
    lambda f: layers.RandomCrop(5, 4, data_format=f),
    lambda f: layers.RandomCrop(7, 6, data_format=f),
    lambda f: layers.RandomCrop(5, 9, data_format=f),
    lambda f: layers.RandomPerspective(0.8, 0.5, fill_value=0.3, data_format=f),
    lambda f: layers.RandomPerspective((0.5, 1.0), 0.9, "nearest", seed=2, data_format=f),
    lambda f: layers.RandomGrayscale(0.5, data_format=f),
    lambda f: layers.RandomColorDegeneration(0.9, value_range=(0, 1), data_format=f),
    lambda f: layers.RandomSaturation((0.2, 0.9), value_range=(0, 1), data_format=f),
    lambda f: layers.RandomHue(0.7, value_range=(0, 1), data_format=f),
    lambda f: layers.RandomHue((0.1, 0.4), value_range=(0, 2), seed=4, data_format=f),
    lambda f: layers.RandomInvert((0.3, 0.7), value_range=(0, 1), data_format=f),
    lambda f: layers.RandomPosterization((2, 6), value_range=(0, 1), data_format=f),
    lambda f: layers.RandomSharpness(0.9, value_range=(0, 1), data_format=f),
    lambda f: layers.RandomGaussianBlur(0.8, 3, value_range=(0, 1), data_format=f),
    lambda f: layers.RandomGaussianBlur((0.4, 0.9), 5, (0.2, 0.9), (0, 1), data_format=f),
    lambda f: layers.RandomErasing(0.9, (0.1, 0.5), value_range=(0, 1), data_format=f),
    lambda f: layers.RandomErasing((0.4, 0.9), fill_value=0.3, data_format=f),
    lambda f: layers.Solarization((0.1, 0.4), 0.6, value_range=(0, 1), data_format=f),
]
COLORED = [
    lambda: layers.RandomBrightness(0.3, value_range=(0, 1)),
    lambda: layers.RandomBrightness((-0.8, 0.1), value_range=(0, 1)),
    lambda: layers.RandomErasing(1.0, (0.2, 0.6), [0.1, 0.5, 0.9], (0, 1)),
    lambda: layers.RandomColorJitter((0, 1), 0.4, 0.3, (0.2, 0.9), 0.3, seed=3),
    lambda: layers.RandomColorJitter((0, 1), contrast_factor=0.5, hue_factor=0.3),
]
WITHOUT_CHANCE = [
    lambda f: layers.AutoContrast((0, 2), data_format=f),
    lambda f: layers.RandomPosterization((3, 3), value_range=(0, 1), data_format=f),
    lambda f: layers.CenterCrop(4, 3, data_format=f),
    lambda f: layers.CenterCrop(10, 3, data_format=f),
    lambda f: layers.Resizing(5, 9, data_format=f),
    lambda f: layers.Resizing(3, 4, "bicubic", antialias=True, data_format=f),
    lambda f: layers.Resizing(3, 9, "nearest", data_format=f),
    lambda f: layers.Resizing(4, 9, crop_to_aspect_ratio=True, data_format=f),
    lambda f: layers.Resizing(9, 4, pad_to_aspect_ratio=True, fill_value=0.5, data_format=f),
    lambda f: layers.Resizing(4, 9, pad_to_aspect_ratio=True, data_format=f),
]


def images(data_format, dtype=torch.float32, count=6):
    x = torch.rand(count, 8, 7, 3, dtype=dtype)
    return x if data_format == "channels_last" else x.permute(0, 3, 1, 2).contiguous()


def compare(layer, x, tolerance):
    """Two calls in training and one without, of the layer and of what it is lowered to."""
    model = keras.Sequential([keras.Input(tuple(x.shape[1:]), dtype=x.dtype), layer])
    state = layer.generator.state if hasattr(layer, "generator") else None
    before = None if state is None else state.numpy()
    expected = [model(x.clone(), training=mode) for mode in (True, True, False)]
    if state is not None:
        after = state.numpy()
        state.assign(before)
    training, evaluating = lower(model, True), lower(model, False)
    assert training.fallbacks == [] and evaluating.fallbacks == []
    outputs = [lowered.module(x) for lowered in (training, training, evaluating)]
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        assert relative(ours, theirs) <= tolerance
    if state is not None:
        np.testing.assert_array_equal(state.numpy(), after)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
@pytest.mark.parametrize("make", [*LAYERS, *WITHOUT_CHANCE])
def test_a_layer_changes_images_as_keras_does(make, data_format):
    compare(make(data_format), images(data_format), 1e-5)


@pytest.mark.parametrize("make", [*LAYERS[::3], *WITHOUT_CHANCE[::2]])
def test_a_layer_changes_images_in_float64(make, true_float64):
    compare(make("channels_last"), images("channels_last", torch.float64), 1e-10)


@pytest.mark.parametrize("make", [*LAYERS[1::4], *WITHOUT_CHANCE[::3]])
def test_a_layer_changes_images_in_half_precision(make):
    keras.config.set_dtype_policy("mixed_bfloat16")
    compare(make("channels_last"), images("channels_last"), 1e-2)


@pytest.mark.parametrize("make", COLORED)
def test_a_layer_changes_colours_as_keras_does(make):
    compare(make(), images("channels_last"), 1e-5)


def test_images_of_whole_numbers_are_moved_as_floats():
    x = torch.randint(0, 256, (5, 8, 7, 3), dtype=torch.uint8)
    for layer in (layers.RandomFlip(), layers.RandomRotation(0.1), layers.CenterCrop(3, 3)):
        compare(layer, x, 1e-5)


def test_twenty_steps_behind_flip_rotation_and_zoom_equal_plain_keras():
    def trained(native, subclassed):
        keras.utils.set_random_seed(0)
        stack = [
            layers.RandomFlip(), layers.RandomRotation(0.1), layers.RandomZoom(0.2),
            layers.RandomTranslation(0.1, 0.1), layers.RandomContrast(0.2, value_range=(0, 1)),
            layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(2),
        ]  # fmt: skip
        model = Own(stack) if subclassed else keras.Sequential([keras.Input((8, 8, 3)), *stack])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        if native:
            keras_dawn.accelerate(model)
        random = np.random.default_rng(0)
        x, y = random.uniform(size=(20, 8, 8, 3)), random.normal(size=(20, 2))
        model.fit(x, y, batch_size=4, epochs=4, shuffle=False, verbose=0)
        if native:
            assert keras_dawn.explain(model).fallbacks == []
            assert sum(keras_dawn.explain(model).layers.values()) == len(stack)
        return model

    plain = trained(False, False)
    for subclassed in (False, True):
        for one, other in zip(trained(True, subclassed).variables, plain.variables, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-5)


class Own(keras.Model):
    def __init__(self, stack):
        super().__init__()
        self.stack = stack

    def call(self, x):
        for layer in self.stack:
            x = layer(x)
        return x
