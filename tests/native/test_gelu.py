"""GELU of channels_last images: torch's numbers to rounding, whichever kernel computes them."""

import keras_dawn
from keras_dawn.native.gelu import LEAST, gelu_of_images

import keras
import pytest
import torch
import torch.nn.functional as F
from keras import layers

ROUNDING = {torch.float32: 2e-6, torch.bfloat16: 2**-7}
SIDES = {"few": 4, "many": 48}  # of 8 images of 8 channels


@pytest.mark.parametrize("dtype", ROUNDING)
@pytest.mark.parametrize("size", SIDES)
def test_results_and_gradients_are_those_of_the_exact_function(dtype, size):
    shape = (8, SIDES[size], SIDES[size], 8)
    assert (torch.Size(shape).numel() >= LEAST) == (size == "many")
    images = (3 * torch.randn(shape)).to(dtype).permute(0, 3, 1, 2)
    change = torch.randn(shape).to(dtype).permute(0, 3, 1, 2)
    ours, exact = images.clone().requires_grad_(), images.double().requires_grad_()
    found, expected = gelu_of_images(ours), F.gelu(exact)
    assert found.dtype is dtype and found.stride() == images.stride()
    found.backward(change)
    expected.backward(change.double())
    near = {"rtol": ROUNDING[dtype], "atol": ROUNDING[dtype]}
    torch.testing.assert_close(found.double(), expected, **near)
    torch.testing.assert_close(ours.grad.double(), exact.grad, **near)


def test_images_are_given_to_torch_as_they_lie_in_memory(monkeypatch):
    given = []
    monkeypatch.setattr(F, "gelu", lambda x: given.append(x) or x)
    images = torch.randn(8, 48, 48, 8).permute(0, 3, 1, 2)
    gelu_of_images(images)
    assert given[0].is_contiguous() and given[0].shape == (8, 48, 48, 8)


@pytest.mark.parametrize("size", SIDES)
def test_memory_in_the_order_of_the_axes_stays_so(size):
    images = torch.randn(8, 8, SIDES[size], SIDES[size])
    found = gelu_of_images(images)
    assert found.is_contiguous()
    torch.testing.assert_close(found, F.gelu(images))


@pytest.mark.parametrize("gelu", [layers.Activation("gelu"), keras.ops.gelu])
def test_a_model_of_images_computes_it_beside_its_convolution(gelu):
    inputs = keras.Input((48, 48, 3))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    x = gelu(x) if isinstance(gelu, layers.Layer) else gelu(x, approximate=False)
    model = keras.Model(inputs, layers.Conv2D(2, 1)(x))
    module = keras_dawn.to_torch(model)
    assert "gelu_of_images" in module.code
    images = torch.randn(8, 48, 48, 3)
    torch.testing.assert_close(module(images), model(images))


def test_the_approximation_by_a_hyperbolic_tangent_is_torchs():
    inputs = keras.Input((8, 8, 3))
    x = keras.ops.gelu(layers.Conv2D(8, 3)(inputs))  # approximate by default
    module = keras_dawn.to_torch(keras.Model(inputs, x))
    assert "gelu_of_images" not in module.code and "tanh" in module.code
