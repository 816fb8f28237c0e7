"""Layers with unusual settings, sizes, orders of axes and neighbours, against plain Keras."""

import keras_dawn
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.native.test_rules import assert_as_keras
from tests.on_device import torch

FIRST = {"data_format": "channels_first"}
IMAGE = {
    "conv even kernel": layers.Conv2D(5, (4, 2), strides=(3, 2), padding="same"),
    "conv one pixel": layers.Conv2D(2, 1, strides=3, padding="same"),
    "conv larger stride": layers.Conv2D(2, 2, strides=5, padding="same"),
    "conv dilated": layers.Conv2D(2, (2, 3), dilation_rate=(2, 1), padding="same"),
    "depthwise": layers.DepthwiseConv2D((2, 3), strides=3, padding="same", depth_multiplier=3),
    "separable": layers.SeparableConv2D(3, 2, strides=2, padding="same", use_bias=False),
    "max": layers.MaxPooling2D((3, 2), strides=(1, 3), padding="same"),
    "max with gaps": layers.MaxPooling2D(2, strides=3),
    "average": layers.AveragePooling2D((2, 3), strides=(1, 2), padding="same"),
    "norm of rows": layers.BatchNormalization(axis=1, center=False),
    "norm of columns": layers.BatchNormalization(axis=2),
    "layer norm of rows": layers.LayerNormalization(axis=(-2, -1), center=False),
    "softmax of rows": layers.Softmax(axis=1),
    "softmax of all": layers.Softmax(axis=(1, 2, 3)),
    "softmax of one": layers.Softmax(axis=[-1]),
    "relu of NumPy": layers.ReLU(max_value=np.float32(0.5)),
    "relu at 0": layers.ReLU(max_value=0.0),
    "leaky of NumPy": layers.ReLU(negative_slope=np.float64(0.1)),
    "relu with a threshold": layers.ReLU(threshold=0.2),
    "relu with everything": layers.ReLU(6.0, 0.1, 0.3),
    "leaky": layers.LeakyReLU(np.float32(0.25)),
    "elu": layers.ELU(np.float64(0.3)),
    "scaled channels": layers.Rescaling([0.5, 2.0, -1.0, 3.0], offset=np.arange(4.0)),
    "scaled": layers.Rescaling(np.float32(0.1), offset=-1),
    "cropped": layers.Cropping2D(((2, 0), (0, 3))),
    "cropped to one pixel": layers.Cropping2D(((4, 4), (3, 4))),
    "padded": layers.ZeroPadding2D(((3, 0), (1, 1))),
    "not padded": layers.ZeroPadding2D(0),
    "up": layers.UpSampling2D((3, 1)),
    "far up": layers.UpSampling2D((41, 1)),
    "smoothly up": layers.UpSampling2D(2, interpolation="bilinear"),
    "all free": layers.Reshape((-1,)),
    "permuted": layers.Permute((3, 1, 2)),
    "dense without bias": layers.Dense(1, use_bias=False),
}
FORMATS = {
    "conv": layers.Conv2D(5, 3, padding="same", strides=2, **FIRST),
    "depthwise": layers.DepthwiseConv2D(3, padding="same", **FIRST),
    "max": layers.MaxPooling2D(2, padding="same", **FIRST),
    "average": layers.AveragePooling2D(2, **FIRST),
    "global average": layers.GlobalAveragePooling2D(**FIRST),
    "global maximum": layers.GlobalMaxPooling2D(keepdims=True, **FIRST),
    "padding": layers.ZeroPadding2D(((0, 1), (2, 0)), **FIRST),
    "even padding": layers.ZeroPadding2D((1, 2), **FIRST),
    "cropping": layers.Cropping2D(((1, 0), (0, 1)), **FIRST),
    "up": layers.UpSampling2D((2, 1), **FIRST),
    "flat": layers.Flatten(**FIRST),
}


def again(layer):
    """A new layer of the same settings, in float64."""
    config = {**layer.get_config(), "dtype": "float64"}
    del config["name"]  # Keras counts anew in a process that has cleared its session
    return type(layer).from_config(config)


def images(*shape):
    """Numbers of which none is equal to another, in memory that is in another order."""
    x = torch.randn(*shape[::-1], dtype=torch.float64)
    return x.permute(*range(len(shape))[::-1])


def names_of_fallbacks(model):
    return [layer.name for layer, _ in lower(model, False).fallbacks]


@pytest.mark.parametrize("name", IMAGE)
def test_unusual_settings_and_odd_sizes(name, true_float64, gradients_of):
    layer = again(IMAGE[name])
    model = keras.Sequential([keras.Input((9, 8, 3)), layers.Conv2D(4, 1), layer])
    x = images(1 if len(name) % 2 else 3, 9, 8, 3)
    assert_as_keras(model, x, gradients_of=gradients_of, fallbacks=names_of_fallbacks(model))


@pytest.mark.parametrize("name", FORMATS)
def test_channels_first_amid_images_with_channels_last(name, true_float64, gradients_of):
    between = [layers.ZeroPadding2D((1, 2))] if len(name) % 2 else []
    after = [] if name in ("flat", "global average") else [layers.Conv2D(2, 1)]
    stack = [layers.Conv2D(4, 3), *between, again(FORMATS[name]), *after]
    model = keras.Sequential([keras.Input((8, 9, 3)), *stack])
    assert_as_keras(model, images(2, 8, 9, 3), gradients_of=gradients_of)


def test_padding_of_one_format_read_in_the_other(true_float64, gradients_of):
    stack = [layers.Dense(4), layers.ZeroPadding2D((1, 2), **FIRST), layers.Conv2D(3, 2)]
    model = keras.Sequential([keras.Input((5, 6, 3)), *stack])
    assert_as_keras(model, images(2, 5, 6, 3), gradients_of=gradients_of)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: layers.Flatten()(layers.Reshape(())(x)),
        lambda x: layers.Reshape((1, 1))(layers.Reshape(())(x)),
        lambda x: layers.Reshape((-1, 1))(x),
        lambda x: layers.RepeatVector(3)(x),
    ],
)
def test_shapes_of_few_axes(make, true_float64, gradients_of):
    x = keras.Input((4,))
    model = keras.Model(x, make(layers.Dense(1)(x)))
    assert_as_keras(model, images(5, 4), gradients_of=gradients_of)


def test_reshape_with_unknown_sizes_and_an_empty_batch(true_float64, gradients_of):
    x = keras.Input((None, 4))
    model = keras.Model(x, layers.Reshape((-1, 2, 2))(layers.Dense(4)(x)))
    assert_as_keras(model, images(2, 5, 4), gradients_of=gradients_of)
    empty = torch.zeros(0, 5, 4, dtype=torch.float64)
    assert lower(model, False).module(empty).shape == model(empty).shape == (0, 5, 2, 2)


def test_cropping_away_everything_is_kerass_error_with_unknown_sizes_too():
    model = keras.Sequential([keras.Input((None, None, 3)), layers.Cropping2D(2)])
    with pytest.raises(ValueError, match="should be smaller"):
        lower(model, False).module(torch.ones(1, 4, 5, 3))


@pytest.mark.parametrize("size", [5, 6])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_averages_of_sizes_that_come_with_the_batch(axes, size, true_float64, gradients_of):
    """Keras pads an odd size alike on both sides, and an even one at its end only."""
    kind = (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)[axes - 1]
    stack = [layers.Dense(2), kind(3, 2, padding="same")]
    model = keras.Sequential([keras.Input((*[None] * axes, 3)), *stack])
    assert_as_keras(model, images(2, *[size] * axes, 3), gradients_of=gradients_of)


def test_weights_in_another_order_than_their_axes_are_left_to_keras(true_float64, gradients_of):
    layer = layers.RMSNormalization(axis=[1, -1], name="norm")
    model = keras.Sequential([keras.Input((5, 1)), layers.Dense(1), layer])
    assert_as_keras(model, images(3, 5, 1), gradients_of=gradients_of, fallbacks=["norm"])


@pytest.mark.parametrize("rank", [2, 3, 5])
def test_normalisation_of_other_ranks(rank, true_float64, gradients_of):
    shape = (3, 4, 2, 5)[: rank - 1]
    stack = [layers.BatchNormalization(axis=1), layers.LayerNormalization(), layers.Dense(2)]
    model = keras.Sequential([keras.Input(shape), *stack])
    assert_as_keras(model, images(4, *shape), gradients_of=gradients_of)


def test_merging_tensors_of_different_ranks_and_a_single_one(true_float64, gradients_of):
    x = keras.Input((5, 6, 3))
    y = layers.Conv2D(4, 3)(x)
    small = layers.GlobalAveragePooling2D()(y)
    merged = [layers.Add()([y, small]), layers.Maximum()([small, y, y]), layers.Multiply()([y])]
    model = keras.Model(x, layers.Average()([layers.Subtract()(merged[:2]), merged[2]]))
    assert_as_keras(model, images(2, 5, 6, 3), gradients_of=gradients_of)


def test_a_relu_never_overwrites_what_somebody_else_reads(true_float64, gradients_of):
    x = keras.Input((5, 6, 3))
    relu = layers.ReLU()
    y = layers.Conv2D(4, 1)(x)
    sums = layers.Add()([y, y])
    outputs = [relu(x), relu(layers.Flatten()(y)), relu(y), y, relu(sums), sums * 2.0]
    model = keras.Model(x, outputs)
    inputs = images(2, 5, 6, 3)
    kept = inputs.clone()
    assert_as_keras(model, inputs, gradients_of=gradients_of)
    assert torch.equal(inputs, kept)


def test_the_gradient_at_a_relus_upper_bound_is_that_of_keras():
    for most in (1.0, 6.0):
        model = keras.Sequential([keras.Input((3,)), layers.ReLU(max_value=most)])
        gradients = []
        for function in (model, lower(model, False).module):
            x = torch.tensor([[0.0, most, most + 1.0]], requires_grad=True)
            function(x).sum().backward()
            gradients.append(x.grad)
        assert torch.equal(*gradients)


def test_one_array_as_scale_and_offset_of_images_with_channels_first():
    numbers = np.array([1.0, 2.0, 3.0])
    model = keras.Sequential([keras.Input((3, 4, 3)), layers.Rescaling(numbers, numbers)])
    keras.config.set_image_data_format("channels_first")
    try:
        x = torch.randn(2, 3, 4, 3)
        torch.testing.assert_close(lower(model, False).module(x), model(x))
    finally:
        keras.config.set_image_data_format("channels_last")


class TestNormalization:
    def adapted(self, data, **settings):
        normalise = layers.Normalization(**settings)
        model = keras.Sequential([keras.Input(data.shape[1:]), normalise])
        return model, normalise

    @pytest.mark.parametrize("axis", [-1, 1, (1, 3), None])
    @pytest.mark.parametrize("invert", [False, True])
    def test_axes_and_inverse(self, axis, invert, true_float64):
        data = np.random.default_rng(0).normal(3, 2, size=(9, 4, 5, 3))
        model, normalise = self.adapted(data, axis=axis, invert=invert)
        normalise.adapt(data)
        x = torch.tensor(data)
        lowered = lower(model, False)
        assert not lowered.fallbacks
        assert relative(lowered.module(x), model(x)) < 1e-14

    def test_numbers_that_were_given(self):
        model = keras.Sequential(
            [
                keras.Input((4, 4, 3), dtype="uint8"),
                layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 0.0, 1.0]),
            ]
        )
        x = torch.randint(0, 255, (2, 4, 4, 3), dtype=torch.uint8)
        torch.testing.assert_close(lower(model, False).module(x), model(x))

    def test_what_is_adapted_or_assigned_later_counts(self):
        data = np.random.default_rng(0).normal(3, 2, size=(9, 4)).astype("float32")
        model, normalise = self.adapted(data)
        module = lower(model, False).module
        x = torch.tensor(data)
        module(x)
        normalise.adapt(data)
        torch.testing.assert_close(module(x), model(x))
        model.set_weights([np.full(4, 2.0), np.full(4, 9.0), np.zeros(())])
        torch.testing.assert_close(module(x), model(x))

    def test_weights_that_are_cast_count_when_keras_casts_them(self):
        data = np.random.default_rng(0).normal(3, 2, size=(9, 4)).astype("float32")
        model, normalise = self.adapted(data, dtype="mixed_bfloat16")
        normalise.adapt(data)
        keras_dawn.accelerate(model)
        model.set_weights([np.full(4, 2.0), np.full(4, 9.0), np.zeros(())])
        for _ in range(2):  # the cast is made anew by `finalize_state`
            expected = keras.ops.convert_to_numpy(model(torch.tensor(data)))
            np.testing.assert_array_equal(model.predict(data, verbose=0), expected)
            normalise.finalize_state()


def test_unseeded_dropout_draws_what_keras_draws():
    model = keras.Sequential([keras.Input((7, 6, 5)), layers.Conv2D(4, 1), layers.Dropout(0.4)])
    x = torch.randn(3, 7, 6, 5)
    torch.manual_seed(1)
    expected = model(x, training=True)
    torch.manual_seed(1)
    torch.testing.assert_close(lower(model, True).module(x), expected)


@pytest.mark.parametrize("make", [layers.Dropout, layers.SpatialDropout2D])
def test_dropout_with_a_seed_of_its_own_draws_what_keras_draws(make):
    def build():
        return keras.Sequential([keras.Input((7, 6, 5)), make(0.4, seed=3)])

    x = torch.randn(3, 7, 6, 5)
    plain, lowered = build(), lower(build(), True).module
    for _ in range(2):
        assert torch.equal(lowered(x), plain(x, training=True))


@pytest.mark.parametrize("shape", [(None, 1, 1, 1), None])
def test_dropping_everything_gives_zeros(shape):
    layer = layers.Dropout(1.0, noise_shape=shape)
    model = keras.Sequential([keras.Input((4, 4, 3)), layer])
    assert torch.equal(lower(model, True).module(torch.ones(2, 4, 4, 3)), torch.zeros(2, 4, 4, 3))
