"""Layers over one and three axes, transposed convolutions, and normalisation of all ranks."""

from keras_dawn.native import to_torch
from keras_dawn.native.lowering.rules import pooling

import keras
import pytest
from keras import layers

from tests.native.test_rules import assert_as_keras
from tests.on_device import on_processor, torch

FIRST, LAST = "channels_first", "channels_last"
SHAPES = {1: (9, 4), 2: (9, 8, 4), 3: (5, 6, 7, 4)}


def over(axes, *makers):
    return [(axes, make) for make in makers]


CONVOLUTIONS = [
    *over(
        1,
        lambda f: layers.Conv1D(5, 3, data_format=f),
        lambda f: layers.Conv1D(5, 3, padding="same", activation="relu", data_format=f),
        lambda f: layers.Conv1D(5, 2, strides=2, padding="same", use_bias=False, data_format=f),
        lambda f: layers.Conv1D(6, 3, dilation_rate=2, padding="same", groups=2, data_format=f),
        lambda f: layers.Conv1D(6, 3, dilation_rate=2, padding="causal", data_format=f),
        lambda f: layers.Conv1D(6, 2, strides=2, padding="causal", data_format=f),
        lambda f: layers.Conv1D(6, 1, activation="relu", data_format=f),
        lambda f: layers.Conv1D(6, 1, padding="same", use_bias=False, data_format=f),
        lambda f: layers.Conv1D(6, 1, strides=2, data_format=f),
        lambda f: layers.DepthwiseConv1D(3, padding="same", data_format=f),
        lambda f: layers.DepthwiseConv1D(3, 2, depth_multiplier=2, data_format=f),
        lambda f: layers.SeparableConv1D(5, 3, depth_multiplier=2, padding="same", data_format=f),
        lambda f: layers.SeparableConv1D(5, 2, strides=2, activation="tanh", data_format=f),
    ),
    *over(
        3,
        lambda f: layers.Conv3D(5, 2, data_format=f),
        lambda f: layers.Conv3D(4, (3, 1, 2), padding="same", activation="relu", data_format=f),
        lambda f: layers.Conv3D(4, 3, strides=(1, 2, 2), padding="same", data_format=f),
        lambda f: layers.Conv3D(4, 2, groups=2, dilation_rate=2, use_bias=False, data_format=f),
    ),
]
TRANSPOSED = [
    (kernel, {"strides": stride, "padding": padding, "output_padding": more, "dilation_rate": rate})
    for kernel, stride, more, rate in [
        (3, 1, None, 1), (2, 1, None, 1), (3, 2, None, 1), (2, 2, None, 1), (1, 3, None, 1),
        (4, 3, None, 1), (3, 1, None, 2), (2, 1, 0, 1), (3, 2, 1, 1), (3, 2, 0, 1), (1, 2, 1, 1),
        (2, 3, 2, 1), (5, 2, 1, 1),
    ]
    for padding in ("valid", "same")
]  # fmt: skip
POOLING = [
    *over(
        1,
        lambda f: layers.MaxPooling1D(2, data_format=f),
        lambda f: layers.MaxPooling1D(3, 2, padding="same", data_format=f),
        lambda f: layers.AveragePooling1D(2, padding="same", data_format=f),
        lambda f: layers.AveragePooling1D(3, 1, padding="same", data_format=f),
        lambda f: layers.GlobalAveragePooling1D(data_format=f),
        lambda f: layers.GlobalMaxPooling1D(keepdims=True, data_format=f),
        lambda f: layers.AdaptiveAveragePooling1D(4, data_format=f),
        lambda f: layers.AdaptiveMaxPooling1D(4, data_format=f),
    ),
    *over(
        2,
        lambda f: layers.MaxPooling2D(3, 2, padding="same", data_format=f),
        lambda f: layers.AveragePooling2D(3, 1, padding="same", data_format=f),
        lambda f: layers.AdaptiveAveragePooling2D((4, 3), data_format=f),
        lambda f: layers.AdaptiveMaxPooling2D((2, 5), data_format=f),
    ),
    *over(
        3,
        lambda f: layers.MaxPooling3D((2, 1, 2), data_format=f),
        lambda f: layers.MaxPooling3D(3, 2, padding="same", data_format=f),
        lambda f: layers.AveragePooling3D(2, padding="same", data_format=f),
        lambda f: layers.AveragePooling3D(3, 1, padding="same", data_format=f),
        lambda f: layers.GlobalAveragePooling3D(keepdims=True, data_format=f),
        lambda f: layers.GlobalMaxPooling3D(data_format=f),
        lambda f: layers.AdaptiveAveragePooling3D((2, 3, 4), data_format=f),
        lambda f: layers.AdaptiveMaxPooling3D(2, data_format=f),
    ),
]
RESHAPING = [
    *over(
        1,
        lambda f: layers.ZeroPadding1D(1, data_format=f),
        lambda f: layers.ZeroPadding1D((0, 2), data_format=f),
    ),
    *over(
        2,
        lambda f: layers.UpSampling2D((2, 3), interpolation="bilinear", data_format=f),
        lambda f: layers.UpSampling2D((3, 1), interpolation="bicubic", data_format=f),
        lambda f: layers.UpSampling2D((1, 33), data_format=f),
    ),
    *over(
        3,
        lambda f: layers.ZeroPadding3D((1, 0, 2), data_format=f),
        lambda f: layers.ZeroPadding3D(((0, 1), (2, 2), (1, 0)), data_format=f),
        lambda f: layers.Cropping3D(((0, 1), (2, 1), (1, 0)), data_format=f),
        lambda f: layers.UpSampling3D((2, 1, 3), data_format=f),
    ),
]


def name_of(case):
    """A test's name: the class and the settings that are not the usual ones."""
    layer = case[1](LAST)
    kept = ("strides", "padding", "interpolation", "dilation_rate", "output_size", "axis")
    settings = [str(v) for name, v in layer.get_config().items() if name in kept]
    return f"{type(layer).__name__}-{'-'.join(settings)}"


def check(axes, layer, data_format, gradients_of):
    """A layer after another one, whose gradient goes through it."""
    shape = SHAPES[axes]
    first = layers.Dense(4, name="first")
    if data_format == FIRST:
        shape, first = (shape[-1], *shape[:-1]), layers.BatchNormalization(axis=1, name="first")
    model = keras.Sequential([keras.Input(shape), first, layer])
    x = torch.randn(3, *shape, dtype=torch.float64)
    assert_as_keras(model, x, gradients_of=gradients_of)


@pytest.mark.parametrize("data_format", [LAST, FIRST])
@pytest.mark.parametrize("case", [*CONVOLUTIONS, *POOLING, *RESHAPING], ids=name_of)
def test_a_layer_over_any_axes(case, data_format, true_float64, gradients_of):
    axes, make = case
    check(axes, make(data_format), data_format, gradients_of)


class WrongAverage(torch.autograd.Function):
    """Stands for torch's average of a GPU before 2.14: right, and its gradient is not."""

    @staticmethod
    def forward(ctx, images, average, arguments):
        ctx.set_materialize_grads(True)
        ctx.shape = images.shape
        return average(images, *arguments)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.new_ones(ctx.shape), None, None


@pytest.mark.parametrize("settings", [{}, {"strides": 2}, {"groups": 2}])
@on_processor
def test_a_convolution_of_single_steps_is_one_product(settings):
    model = keras.Sequential([keras.Input((9, 4)), layers.Conv1D(6, 1, **settings)])
    assert ("product(" in to_torch(model).code) == (not settings)


@pytest.mark.parametrize("axes", [1, 2])
def test_no_average_goes_where_torch_has_a_wrong_gradient(
    axes, true_float64, gradients_of, monkeypatch
):
    average = pooling.AVERAGE[axes + 2]

    def as_on_a_gpu(images, *arguments):
        if images.is_contiguous():
            return average(images, *arguments)
        return WrongAverage.apply(images, average, arguments)

    monkeypatch.setattr(pooling, "WRONG_GRADIENTS", True)
    monkeypatch.setattr(pooling, "_has_wrong_gradient", lambda images: not images.is_contiguous())
    monkeypatch.setitem(pooling.AVERAGE, axes + 2, as_on_a_gpu)
    layer = (layers.AveragePooling1D, layers.AveragePooling2D)[axes - 1](3, 1, padding="same")
    check(axes, layer, LAST, gradients_of)


@pytest.mark.parametrize("data_format", [LAST, FIRST])
@pytest.mark.parametrize("kernel,settings", TRANSPOSED)
def test_a_transposed_convolution(kernel, settings, data_format, true_float64, gradients_of):
    layer = layers.Conv1DTranspose(3, kernel, data_format=data_format, **settings)
    layer.build((None, 9, 4) if data_format == LAST else (None, 4, 9))
    layer.bias.assign([1.0, 2.0, 3.0])  # what zeros at the end would be without it
    check(1, layer, data_format, gradients_of)


@pytest.mark.parametrize("data_format", [LAST, FIRST])
@pytest.mark.parametrize(
    "axes,layer",
    [
        (2, lambda f: layers.Conv2DTranspose(3, (3, 2), 2, "same", data_format=f)),
        (2, lambda f: layers.Conv2DTranspose(3, 2, (1, 2), activation="relu", data_format=f)),
        (3, lambda f: layers.Conv3DTranspose(3, (3, 2, 1), 2, "same", data_format=f)),
        (3, lambda f: layers.Conv3DTranspose(2, 2, use_bias=False, data_format=f)),
    ],
)
def test_a_transposed_convolution_of_images_and_volumes(
    axes, layer, data_format, true_float64, gradients_of
):
    check(axes, layer(data_format), data_format, gradients_of)


def test_an_output_padding_as_long_as_a_step_is_left_to_keras(true_float64, gradients_of):
    layer = layers.Conv1DTranspose(3, 1, 2, output_padding=1, name="layer")
    model = keras.Sequential([keras.Input((9, 4)), layer])
    layer.output_padding = (3,)
    x = torch.randn(3, 9, 4, dtype=torch.float64)
    assert_as_keras(model, x, gradients_of=gradients_of, fallbacks=["layer"])


@pytest.mark.parametrize("layer", [layers.Cropping1D((1, 2)), layers.UpSampling1D(3)])
def test_a_layer_of_series(layer, true_float64, gradients_of):
    layer = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    check(1, layer, LAST, gradients_of)


NORMALIZATIONS = [
    lambda: layers.BatchNormalization(),
    lambda: layers.BatchNormalization(axis=1, scale=False),
    lambda: layers.GroupNormalization(2),
    lambda: layers.GroupNormalization(-1, axis=1, center=False),
    lambda: layers.GroupNormalization(1, scale=False, epsilon=0.1),
    lambda: layers.RMSNormalization(),
    lambda: layers.RMSNormalization(axis=[-1, -2]),
    lambda: layers.UnitNormalization(),
    lambda: layers.UnitNormalization(axis=[1, 2]),
    lambda: layers.LayerNormalization(rms_scaling=True),
    lambda: layers.LayerNormalization(rms_scaling=True, axis=[1, 2], epsilon=0.1),
    lambda: layers.PReLU("uniform"),
    lambda: layers.PReLU("uniform", shared_axes=[1]),
]


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling")
@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("make", NORMALIZATIONS)
def test_a_normalization(make, axes, true_float64, gradients_of):
    check(axes, make(), LAST, gradients_of)


@pytest.mark.parametrize("axis", [2, 3])
@pytest.mark.parametrize("kind", [layers.BatchNormalization, layers.GroupNormalization])
def test_a_normalization_along_an_axis_in_the_middle(kind, axis, true_float64, gradients_of):
    groups = {"groups": 1} if kind is layers.GroupNormalization else {}
    check(3, kind(axis=axis, **groups), LAST, gradients_of)


@on_processor
def test_single_steps_are_convolved_where_torch_rounds_products():
    x = torch.randn(64, 16, 64)
    layer = layers.Conv1D(64, 1, use_bias=False)
    module = to_torch(keras.Sequential([keras.Input((16, 64)), layer]))
    expected = x.double() @ layer.kernel.value.detach()[0].double()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.no_grad():
            found = module(x)
    finally:
        torch.set_float32_matmul_precision("highest")
    assert float((found - expected).norm() / expected.norm()) < 1e-6
