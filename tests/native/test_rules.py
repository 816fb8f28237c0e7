"""Every rule against the Keras layer, in float64: outputs, training outputs, gradients."""

from keras_dawn.foundation.keras_version import VERSION
from keras_dawn.native import LoweringError, to_torch
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.on_device import torch

IMAGE = [
    layers.Conv2D(5, 3),
    layers.Conv2D(5, 3, padding="same", activation="relu"),
    layers.Conv2D(5, (3, 2), strides=2, padding="same", use_bias=False),
    layers.Conv2D(6, 3, dilation_rate=2, padding="same"),
    layers.Conv2D(6, 3, groups=2, activation="silu"),
    layers.DepthwiseConv2D(3, padding="same"),
    layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
    layers.SeparableConv2D(5, 3, depth_multiplier=2, padding="same", activation="relu"),
    layers.BatchNormalization(),
    layers.BatchNormalization(scale=False, momentum=0.8, epsilon=1e-2),
    layers.LayerNormalization(epsilon=1e-6),
    layers.LayerNormalization(axis=(1, 2, 3)),
    layers.LayerNormalization(axis=(1, 3)),
    layers.LayerNormalization(axis=(-1, 1), center=False, scale=False),
    layers.MaxPooling2D(2),
    layers.MaxPooling2D(3, strides=2, padding="same"),
    layers.AveragePooling2D(2),
    layers.AveragePooling2D(3, strides=2, padding="same"),
    layers.AveragePooling2D(3, strides=1, padding="same"),
    layers.GlobalAveragePooling2D(),
    layers.GlobalAveragePooling2D(keepdims=True),
    layers.GlobalMaxPooling2D(),
    layers.ZeroPadding2D(1),
    layers.ZeroPadding2D(((0, 1), (2, 0))),
    layers.Cropping2D(((0, 1), (2, 0))),
    layers.UpSampling2D((2, 3)),
    layers.Flatten(),
    layers.Reshape((4, -1)),
    layers.Permute((2, 3, 1)),
    layers.Softmax(),
    layers.ReLU(),
    layers.ReLU(max_value=6.0),
    layers.ReLU(negative_slope=0.1),
    layers.LeakyReLU(0.2),
    layers.ELU(0.7),
    layers.Rescaling(1 / 127.5, offset=-1.0),
    layers.Dense(5, activation="tanh"),
    layers.Identity(),
    layers.Dropout(0.0),
    *[
        layers.Activation(name)
        for name in (
            "relu", "relu6", "sigmoid", "tanh", "silu", "elu", "selu", "softplus", "softsign",
            "mish", "exponential", "hard_sigmoid", "hard_silu", "gelu", "leaky_relu", "softmax",
            "log_softmax", "linear",
        )
    ],
]  # fmt: skip


def describe(layer):
    settings = layer.get_config()
    return f"{type(layer).__name__}-{settings.get('activation') or ''}"


def assert_as_keras(model, *inputs, gradients_of, fallbacks=()):
    lowered = lower(model, training=False, masks=False)
    call = inputs[0] if len(inputs) == 1 else list(inputs)
    expected = keras.tree.flatten(model(call, training=False))
    outputs = lowered.module(*inputs)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours.shape == theirs.shape
        assert relative(ours, theirs) < 1e-12
    assert [layer.name for layer, _ in lowered.fallbacks] == list(fallbacks)
    (outputs, ours), (expected, theirs), _ = gradients_of(model, *inputs)
    for one, other in zip(outputs, expected, strict=True):
        assert relative(one, other) < 1e-11
    assert ours.keys() == theirs.keys()
    scale = max((float(g.abs().max()) for g in theirs.values()), default=1.0)
    for path, gradient in ours.items():
        assert gradient.shape == theirs[path].shape
        assert float((gradient - theirs[path]).abs().max()) < 1e-11 * max(scale, 1.0)


@pytest.mark.parametrize("layer", IMAGE, ids=describe)
def test_a_layer_of_images(layer, true_float64, gradients_of):
    layer = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    first = layers.Conv2D(
        4, 1, name="first"
    )  # so that there is a gradient to compare, before and after
    model = keras.Sequential([keras.Input((9, 8, 3)), first, layer])
    assert_as_keras(model, torch.randn(4, 9, 8, 3, dtype=torch.float64), gradients_of=gradients_of)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(5, 3, padding="same", data_format="channels_first"),
        layers.DepthwiseConv2D(3, strides=2, padding="same", data_format="channels_first"),
        layers.BatchNormalization(axis=1),
        layers.MaxPooling2D(2, data_format="channels_first"),
        layers.GlobalAveragePooling2D(data_format="channels_first"),
        layers.ZeroPadding2D(1, data_format="channels_first"),
        layers.Flatten(data_format="channels_first"),
    ],
    ids=describe,
)
def test_a_layer_of_images_with_channels_first(layer, true_float64, gradients_of):
    layer = type(layer).from_config({**layer.get_config(), "dtype": "float64"})
    first = layers.Conv2D(4, 1, data_format="channels_first", name="first")
    model = keras.Sequential([keras.Input((3, 9, 8)), first, layer])
    assert_as_keras(model, torch.randn(4, 3, 9, 8, dtype=torch.float64), gradients_of=gradients_of)


def test_sizes_that_are_not_known_beforehand(true_float64, gradients_of):
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            layers.Conv2D(4, 3, strides=2, padding="same"),
            layers.MaxPooling2D(3, 2, padding="same"),
            layers.GlobalAveragePooling2D(),
        ]
    )
    for size in (8, 9, 11):
        x = torch.randn(2, size, size, 3, dtype=torch.float64)
        assert_as_keras(model, x, gradients_of=gradients_of)


@pytest.mark.parametrize(
    "merge",
    [layers.Add(), layers.Multiply(), layers.Average(), layers.Maximum(), layers.Minimum(),
     layers.Concatenate(), layers.Concatenate(axis=1)],
    ids=describe,
)  # fmt: skip
def test_merging_images(merge, true_float64, gradients_of):
    merge = type(merge).from_config({**merge.get_config(), "dtype": "float64"})
    x = keras.Input((6, 6, 3))
    branches = [layers.Conv2D(4, 3, padding="same")(x) for _ in range(3)]
    model = keras.Model(x, merge(branches))
    assert_as_keras(model, torch.randn(2, 6, 6, 3, dtype=torch.float64), gradients_of=gradients_of)


def test_operators_numbers_and_broadcasting(true_float64, gradients_of):
    x = keras.Input((6, 6, 4))
    y = layers.Conv2D(4, 1)(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(y)
    z = (1.0 - y) * gate + 0.5 * y / 3.0 - 2.0
    z = layers.Subtract()([z, y])
    model = keras.Model(x, z)
    assert_as_keras(model, torch.randn(2, 6, 6, 4, dtype=torch.float64), gradients_of=gradients_of)


def test_several_inputs_outputs_shared_and_nested_models(true_float64, gradients_of):
    inner_input = keras.Input((6, 6, 4))
    inner = keras.Model(
        inner_input, layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inner_input))
    )
    shared = layers.Conv2D(4, 1)
    a, b = keras.Input((6, 6, 3)), keras.Input((6, 6, 3))
    left, right = inner(shared(a)), inner(shared(b))
    sequence = keras.Sequential([layers.Flatten(), layers.Dense(2)])
    model = keras.Model([a, b], [sequence(left), layers.Add()([left, right])])
    inputs = [torch.randn(3, 6, 6, 3, dtype=torch.float64) for _ in range(2)]
    assert_as_keras(model, *inputs, gradients_of=gradients_of)


def test_frozen_layers_and_modes_of_calls_are_what_keras_makes_of_them(true_float64, gradients_of):
    x = keras.Input((6, 6, 3))
    y = layers.BatchNormalization()(layers.Conv2D(4, 3)(x), training=False)
    frozen = layers.BatchNormalization()
    frozen.trainable = False
    y = frozen(y)
    inner = keras.Sequential([keras.Input((4, 4, 4)), layers.BatchNormalization()])
    model = keras.Model(x, inner(y, training=False))
    for variable in model.non_trainable_variables:
        variable.assign(np.random.default_rng(0).uniform(0.5, 1.5, variable.shape))
    if VERSION >= (3, 16):  # there a layer's own mode wins, and is what the ones after it are told
        with pytest.raises(LoweringError, match="called with a mode of its own"):
            lower(model, training=True)
        return
    assert_as_keras(model, torch.randn(2, 6, 6, 3, dtype=torch.float64), gradients_of=gradients_of)
    assert frozen not in lower(model, True, collect_statistics=True).statistics


def test_embedding_and_sequences(true_float64, gradients_of):
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(7, 4),
            layers.LayerNormalization(),
            layers.Dense(3, "gelu"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    assert_as_keras(
        model, torch.randint(0, 7, (3, 5), dtype=torch.int32), gradients_of=gradients_of
    )


def test_normalization_with_adapted_statistics(true_float64, gradients_of):
    normalise = layers.Normalization()
    normalise.adapt(np.random.default_rng(0).normal(3, 2, size=(50, 6, 6, 3)))
    model = keras.Sequential([keras.Input((6, 6, 3)), normalise, layers.Conv2D(2, 3)])
    assert_as_keras(model, torch.randn(2, 6, 6, 3, dtype=torch.float64), gradients_of=gradients_of)


class Twice(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x, training=False):
        # A function of torch's: what combines `keras.ops` alone would be lowered.
        return torch.mul(x, self.factor.value) * (2.0 if training else 1.0)


def test_a_layer_without_a_rule_is_called_as_it_is(true_float64, gradients_of):
    model = keras.Sequential(
        [keras.Input((6, 6, 3)), layers.Conv2D(4, 3), Twice(name="twice"), layers.Conv2D(2, 1)]
    )
    x = torch.randn(2, 6, 6, 3, dtype=torch.float64)
    assert_as_keras(model, x, gradients_of=gradients_of, fallbacks=["twice"])


@pytest.mark.parametrize("rate", [0.3, 0.5])
@pytest.mark.parametrize("noise_shape", [None, (None, 1, 1, None), (None, 1, 1, 1)])
def test_dropout_drops_the_right_share_and_keeps_the_mean(rate, noise_shape):
    model = keras.Sequential(
        [keras.Input((8, 8, 16)), layers.Dropout(rate, noise_shape=noise_shape)]
    )
    x = torch.ones(64, 8, 8, 16)
    module = to_torch(model, training=True)
    dropped = module(x)
    assert sorted(dropped.unique().tolist()) == pytest.approx([0.0, 1 / (1 - rate)])
    share = float((dropped == 0).float().mean())
    draws = {None: 65536, (None, 1, 1, None): 1024, (None, 1, 1, 1): 64}[noise_shape]
    assert abs(share - rate) < 5 * (rate * (1 - rate) / draws) ** 0.5
    if noise_shape:
        assert (dropped == dropped[:, :1, :1]).all()
    assert not torch.equal(module(x), dropped)
    assert torch.equal(to_torch(model)(x), x)
