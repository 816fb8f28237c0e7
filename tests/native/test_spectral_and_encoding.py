"""Spectral normalisation, dot products and encodings, against the Keras layers."""

import keras_dawn
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.test_rules import assert_as_keras
from tests.on_device import torch

WRAPPED = {
    "Dense": lambda: layers.Dense(3, "relu"),
    "Conv2D": lambda: layers.Conv2D(3, (3, 2), padding="same"),
    "DepthwiseConv2D": lambda: layers.DepthwiseConv2D(3, depth_multiplier=2),
    "Conv2DTranspose": lambda: layers.Conv2DTranspose(3, 3, 2),
    "kernel of zeros": lambda: layers.Dense(3, kernel_initializer="zeros"),
}


def spectral(name, rounds, native):
    keras.utils.set_random_seed(0)
    normalised = layers.SpectralNormalization(WRAPPED[name](), rounds)
    model = keras.Sequential(
        [keras.Input((6, 6, 4)), normalised, layers.Flatten(), layers.Dense(2)]
    )
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), "mse")
    if native:
        keras_dawn.accelerate(model)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(20, 6, 6, 4)), random.normal(size=(20, 2))
    model.fit(x, y, batch_size=4, epochs=4, shuffle=False, verbose=0)
    if native:
        assert keras_dawn.explain(model).fallbacks == []
    return model, model.predict(x, verbose=0)


@pytest.mark.parametrize("name", WRAPPED)
def test_twenty_steps_with_spectral_normalization_equal_plain_keras(name, true_float64):
    rounds = 2 if name == "Dense" else 1
    (ours, predicted), (plain, expected) = (spectral(name, rounds, n) for n in (True, False))
    np.testing.assert_allclose(predicted, expected, rtol=1e-10, atol=1e-12)
    for one, other in zip(ours.variables, plain.variables, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-10, atol=1e-12)


def test_a_kernel_that_is_used_before_it_is_divided_is_left_to_keras():
    inner = layers.Dense(4)
    model = keras.Sequential([keras.Input((4,)), inner, layers.SpectralNormalization(inner)])
    (fallback,) = lower(model, True).fallbacks
    assert fallback[1] == "its kernel is used before it is divided"
    assert lower(model, False).fallbacks == []


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize(
    "shapes,axes",
    [
        (((5,), (5,)), 1), (((5,), (3, 5)), (1, 2)), (((3, 5), (5,)), -1),
        (((3, 5), (5, 2)), (2, 1)), (((2, 3, 5), (4, 5)), -1), (((3, 5), (2, 3, 4)), (1, 2)),
    ],
)  # fmt: skip
def test_dot_products(shapes, axes, normalize, true_float64, gradients_of):
    one, other = (keras.Input(shape) for shape in shapes)
    parts = [layers.Dense(shape[-1])(x) for x, shape in zip((one, other), shapes, strict=True)]
    model = keras.Model([one, other], layers.Dot(axes, normalize=normalize)(parts))
    inputs = [torch.randn(4, *shape, dtype=torch.float64) for shape in shapes]
    assert_as_keras(model, *inputs, gradients_of=gradients_of)


@pytest.mark.parametrize("shape", [(2,), (1,), (), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
@pytest.mark.parametrize(
    "layer",
    [
        lambda: layers.CategoryEncoding(5, "one_hot"),
        lambda: layers.CategoryEncoding(5, "multi_hot"),
        lambda: layers.CategoryEncoding(5, "count"),
        lambda: layers.Discretization([0.5, 1.0, 3.0]),
        lambda: layers.Discretization([0.5, 1.0, 3.0], output_mode="one_hot"),
        lambda: layers.Discretization([0.5, 1.0, 3.0], output_mode="count"),
    ],
)
def test_an_encoding(layer, dtype, shape):
    layer = layer()
    dropped_batch = shape == () and layer.output_mode in ("multi_hot", "count")
    x = torch.randint(-1, 4, (3, *shape)).to(dtype)
    inputs = keras.Input(shape, dtype=dtype)
    model = keras.Model(inputs, layer(inputs))
    expected, lowered = model(x), lower(model, False)
    assert bool(lowered.fallbacks) == dropped_batch
    outputs = lowered.module(x)
    assert outputs.dtype == expected.dtype and outputs.shape == expected.shape
    assert torch.equal(outputs, expected)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "float16"])
def test_what_is_sorted_into_bins_is_not_rounded_to_half_precision(policy):
    inputs = keras.Input((2,))
    model = keras.Model(inputs, layers.Discretization([0.1, 1000.5], dtype=policy)(inputs))
    x = torch.tensor([[0.0999, 0.1], [1000.4, 1000.6]])
    assert model(x).tolist() == [[0, 1], [1, 2]]
    assert keras_dawn.to_torch(model)(x).tolist() == [[0, 1], [1, 2]]


def test_boundaries_that_are_set_anew_take_effect():
    layer = layers.Discretization([10.0, 20.0])
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    x = np.arange(30.0)[:, None]
    for boundaries in ([10.0, 20.0], [2.0, 4.0, 6.0]):
        layer.bin_boundaries = boundaries
        expected = np.digitize(x, boundaries)
        np.testing.assert_array_equal(model.predict(x, verbose=0), expected)


def test_a_kernel_that_is_divided_twice_in_a_step_trains_as_in_plain_keras():
    def trained(accelerated):
        keras.utils.set_random_seed(0)
        divided = layers.SpectralNormalization(layers.Conv2D(4, 3))
        images = keras.Input((8, 8, 3))
        both = divided(images) - divided(images * 0.5)
        model = keras.Model(images, layers.Dense(1)(layers.Flatten()(both)))
        if accelerated:
            keras_dawn.accelerate(model)
        model.compile(keras.optimizers.SGD(0.1), "mse")
        x = np.random.default_rng(0).random((8, 8, 8, 3), dtype="float32")
        model.fit(x, x[:, 0, 0, :1], batch_size=4, shuffle=False, verbose=0)
        return model.get_weights()

    for here, plain in zip(trained(True), trained(False), strict=True):
        np.testing.assert_allclose(here, plain, rtol=1e-4, atol=1e-5)
