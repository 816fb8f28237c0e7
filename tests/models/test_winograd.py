"""Convolutions by Winograd's minimal filtering against torch's and Keras's own."""

import keras_dawn
from keras_dawn.convolutions.winograd import _transforms
from keras_dawn.models import WhitenedConvNet, WinogradConv2D
from keras_dawn.models.winograd import winograd_conv2d

import keras
import numpy as np
import pytest
import torch

SIZES = [
    (3, 5, 1),
    (5, 4, 1),
    (7, 7, 1),
    (16, 3, 1),
    (11, 15, 1),
    (5, 7, 0),
    (8, 8, 0),
    (10, 16, 0),
]


def both(height, width, padding, dtype):
    """Result and gradients, ours and torch's."""
    random = torch.Generator().manual_seed(height)
    shapes = (4, 64, height, width), (72, 64, 3, 3), (72,)
    images, weight, bias = (
        torch.randn(shape, generator=random, dtype=dtype).requires_grad_() for shape in shapes
    )
    images = images.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    for convolve in (winograd_conv2d, torch.conv2d):
        result = convolve(images, weight, bias, padding=padding)
        change = torch.cos(torch.arange(result.numel(), dtype=dtype)).view(result.shape)
        yield result.detach(), *torch.autograd.grad(result, (images, weight, bias), change)


@pytest.mark.parametrize("height, width, padding", SIZES)
def test_result_and_gradients_are_those_of_torch(height, width, padding):
    ours, theirs = both(height, width, padding, torch.float64)
    for mine, expected in zip(ours, theirs, strict=True):
        assert mine.shape == expected.shape
        assert torch.allclose(mine, expected, rtol=0, atol=1e-11 * float(expected.norm()))


@pytest.mark.parametrize("height, width, padding", SIZES)
def test_rounding_in_float32_is_what_the_docstring_says(height, width, padding):
    ours, theirs = both(height, width, padding, torch.float32)
    sides = [size - 2 + 2 * padding for size in (height, width)]
    tile = max(side if side <= 8 else -(-side // 2) for side in sides)
    limit = 8e-6 if tile <= 6 else 1e-4
    for mine, expected in zip(ours, theirs, strict=True):
        assert float((mine - expected).norm() / expected.norm()) < limit


@pytest.mark.parametrize(
    "size, dtype, channels, direct",
    [
        (3, "float32", 64, 0),
        (16, "float32", 64, 0),
        (2, "float32", 64, 1),
        (17, "float32", 64, 1),
        (8, "bfloat16", 64, 1),
        (8, "float32", 63, 1),
    ],
)
def test_what_does_not_pay_or_would_lose_precision_is_direct(
    monkeypatch, size, dtype, channels, direct
):
    images = torch.ones(1, channels, size, size, dtype=getattr(torch, dtype))
    weight = torch.full((64, channels, 3, 3), 0.5, dtype=images.dtype)
    expected = torch.conv2d(images, weight, padding=1)
    calls = []
    original = torch.conv2d
    monkeypatch.setattr(torch, "conv2d", lambda *a, **k: calls.append(1) or original(*a, **k))
    assert torch.allclose(winograd_conv2d(images, weight, padding=1), expected, rtol=1e-3)
    assert len(calls) == direct


def test_training_follows_an_evaluation_in_inference_mode():
    images, weight = torch.ones(1, 64, 4, 13), torch.ones(64, 64, 3, 3, requires_grad=True)
    with torch.inference_mode():
        winograd_conv2d(images, weight, padding=1)
    winograd_conv2d(images.requires_grad_(), weight, padding=1).sum().backward()
    assert weight.grad is not None


def network(convolution):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6, 6, 64)),
            convolution(65, 3, activation="tanh"),
            convolution(64, 3, padding="same", use_bias=False),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )


@pytest.mark.parametrize("native", [False, True])
def test_layers_train_as_keras_convolutions(native):
    random = np.random.default_rng(0)
    x = random.normal(size=(16, 6, 6, 64)).astype("float32")
    y = random.normal(size=(16, 64)).astype("float32")
    ours, plain = network(WinogradConv2D), network(keras.layers.Conv2D)
    for model in (ours, plain):
        model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    if native:
        keras_dawn.accelerate(ours)
        assert "2 × WinogradConv2D          native" in str(keras_dawn.explain(ours))
    for model in (ours, plain):
        model.fit(x, y, 8, epochs=3, shuffle=False, verbose=0)
    for mine, expected in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(mine, expected, rtol=0, atol=2e-5)


def test_a_layer_comes_back_from_its_config():
    model = network(WinogradConv2D)
    again = keras.Sequential.from_config(model.get_config())
    again.set_weights(model.get_weights())
    x = np.ones((1, 6, 6, 64), "float32")
    np.testing.assert_array_equal(again(x).detach().cpu(), model(x).detach().cpu())


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize("size", [24, 32])
def test_the_record_network_answers_as_without(native, size):
    random = torch.Generator().manual_seed(1)
    shape = {"shortcuts": True, "gates": (2, 3), "input_shape": (None, None, 3)}
    ours, plain = (
        WhitenedConvNet((64, (64, 66), (64, 64, 64)), winograd=winograd, **shape)
        for winograd in (True, False)
    )
    for mine, theirs in zip(ours.weights, plain.weights, strict=True):
        value = torch.rand(mine.shape, generator=random) - (mine.ndim > 1) * 0.5
        mine.assign(value)
        theirs.assign(value)
    ours.compile("sgd", "mse")
    if native:
        keras_dawn.accelerate(ours)
    images = torch.rand((8, size, size, 3), generator=random).numpy()
    answers, expected = ours.predict(images, verbose=0), plain.predict(images, verbose=0)
    np.testing.assert_allclose(answers, expected, rtol=0, atol=3e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"kernel_size": 5}, "kernel of 3 × 3"),
        ({"kernel_size": 3, "strides": 2}, "strides"),
        ({"kernel_size": 3, "dilation_rate": 2}, "dilation"),
        ({"kernel_size": 3, "groups": 2}, "groups"),
        ({"kernel_size": 3, "data_format": "channels_first"}, "channels_last"),
    ],
)
def test_other_convolutions_are_refused(settings, words):
    with pytest.raises(ValueError, match=words):
        WinogradConv2D(4, **settings)


def test_what_torch_would_round_is_not_transformed():
    random = torch.Generator().manual_seed(0)
    images, weight = (torch.randn(64, 64, n, n, generator=random) for n in (6, 3))
    expected = torch.conv2d(images.double(), weight.double(), padding=1)
    with torch.autocast("cpu", torch.bfloat16):
        found = winograd_conv2d(images, weight, padding=1)
    assert found.dtype == torch.bfloat16
    assert float((found.double() - expected).norm() / expected.norm()) < 5e-3
    torch.set_float32_matmul_precision("medium")
    try:
        found = winograd_conv2d(images, weight, padding=1)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert float((found.double() - expected).norm() / expected.norm()) < 5e-6


def test_an_empty_batch_has_an_empty_result():
    images, weight = torch.ones(0, 64, 5, 5), torch.ones(64, 64, 3, 3)
    assert winograd_conv2d(images, weight, padding=1).shape == (0, 64, 5, 5)


def test_what_is_exported_is_torchs_and_leaves_nothing_behind():
    class Module(torch.nn.Module):
        def forward(self, images, weight):
            return winograd_conv2d(images, weight, padding=1)

    images, weight = torch.randn(2, 64, 9, 14), torch.randn(64, 64, 3, 3)
    _transforms.cache_clear()
    exported = torch.export.export(Module(), (images, weight))
    assert "conv2d" in exported.graph_module.code
    expected = torch.conv2d(images, weight, padding=1)
    found = winograd_conv2d(images, weight, padding=1)
    torch.testing.assert_close(found, expected, atol=1e-2, rtol=0)


def test_what_is_compiled_is_one_graph():
    images, weight = torch.randn(2, 64, 5, 5), torch.randn(64, 64, 3, 3)
    compiled = torch.compile(winograd_conv2d, backend="eager", fullgraph=True)
    found = compiled(images, weight, padding=1)
    torch.testing.assert_close(found, torch.conv2d(images, weight, padding=1))
