"""Convolutions of one series become one, with the numbers of the model as written."""

import re

import keras_dawn
from keras_dawn.native.padding import pad_axes, pad_same

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.trained import assert_trains_alike
from tests.on_device import torch

X = np.random.default_rng(0).normal(size=(8, 12, 4))


def gated(**settings):
    """A WaveNet's gates twice, and a third convolution of the same series in other steps."""
    inputs = keras.Input((12, 4))
    x = layers.Dense(4)(inputs)
    for dilation in (1, 2):
        tanh, sigmoid = (
            layers.Conv1D(
                filters, 3, padding="causal", dilation_rate=dilation, activation=name, **settings
            )(x)
            for name, filters in (("tanh", 5), ("sigmoid", 5))
        )
        other = layers.Conv1D(5, 2, padding="causal", dilation_rate=2 * dilation, **settings)(x)
        x = layers.Add()([layers.Multiply()([tanh, sigmoid]), other])
    return keras.Model(inputs, layers.Dense(3)(x))


def compiled(build):
    def built():
        model = build()
        model.compile(keras.optimizers.SGD(0.0625), "mse")
        return model

    return built


def joins(model):
    calls = " = keras_dawn_native_lowering_(joined|gated)_convolutions_"
    return len(re.findall(calls, keras_dawn.to_torch(model).code))


@pytest.mark.parametrize("settings", [{}, {"use_bias": False}, {"kernel_regularizer": "l2"}])
def test_gates_train_as_in_plain_keras(settings, true_float64):
    assert joins(gated(**settings)) == 2
    y = np.random.default_rng(1).normal(size=(8, 12, 3))
    assert_trains_alike(compiled(lambda: gated(**settings)), X, y, 1e-9)


def test_gates_that_two_inputs_share_are_joined_for_each(true_float64):
    series = keras.Input((12, 4))
    one, other = layers.Conv1D(4, 3), layers.Conv1D(4, 3, activation="tanh")
    encoder = keras.Model(series, layers.Multiply()([one(series), other(series)]))

    def build():
        inputs = keras.Input((12, 4))
        shifted = layers.ReLU()(inputs)
        return keras.Model(inputs, layers.Subtract()([encoder(inputs), encoder(shifted)]))

    model = build()
    assert joins(model) == 2
    x = torch.as_tensor(X)
    torch.testing.assert_close(keras_dawn.to_torch(model)(x), model(x))

    def fresh():
        return keras.models.clone_model(build())

    assert_trains_alike(compiled(fresh), X, np.random.default_rng(1).normal(size=(8, 10, 4)), 1e-9)


class Two(layers.Layer):
    """Convolves its series twice."""

    def __init__(self):
        super().__init__()
        self.one, self.other = layers.Conv1D(4, 3), layers.Conv1D(4, 3)

    def build(self, shape):
        self.one.build(shape)
        self.other.build(shape)

    def call(self, x):
        return self.one(x), self.other(x)


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_a_convolution_that_nobody_reads_is_not_trained():
    inputs = keras.Input((12, 4))
    two = Two()
    model = keras.Model(inputs, two(inputs)[0])
    assert joins(model) == 0
    model.compile(keras.optimizers.AdamW(0.1, weight_decay=0.5), "mse")
    before = two.other.kernel.numpy()
    keras_dawn.accelerate(model).fit(X, np.zeros((8, 10, 4)), verbose=0)
    assert (two.other.kernel.numpy() == before).all()


def test_wide_ones_are_joined_too_and_explain_says_their_way():
    inputs = keras.Input((64, 128))
    pair = [layers.Conv1D(128, 3)(inputs) for _ in range(2)]
    model = keras.Model(inputs, layers.Multiply()(pair))
    assert joins(model) == 1
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(2, 64, 128)).astype("float32")
    keras_dawn.accelerate(model).fit(x, x[:, 2:], verbose=0)
    by_ways = "joined_by_ways" in keras_dawn.to_torch(model).code
    assert [name.count("_and_") for name in keras_dawn.explain(model).convolutions] == [1] * by_ways


def test_in_half_precision_it_computes_what_the_layers_do():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = gated()
    keras.config.set_dtype_policy("float32")
    assert joins(model) == 2
    x = torch.as_tensor(X, dtype=torch.float32)
    torch.testing.assert_close(keras_dawn.to_torch(model)(x), model(x), rtol=0.02, atol=0.02)


def test_what_differs_is_not_joined():
    inputs = keras.Input((12, 4))
    x = layers.Dense(4)(inputs)
    kinds = [{"kernel_size": 2}, {"kernel_size": 3}, {"kernel_size": 3, "strides": 2},
             {"kernel_size": 3, "use_bias": False}, {"kernel_size": 3, "groups": 2}]  # fmt: skip
    pooled = [layers.GlobalMaxPooling1D()(layers.Conv1D(4, **kind)(x)) for kind in kinds]
    shared = layers.Conv1D(4, 4)
    pooled += [layers.GlobalMaxPooling1D()(shared(y)) for y in (x, layers.ReLU()(x))]
    assert joins(keras.Model(inputs, layers.Concatenate()(pooled))) == 0


def test_one_layer_that_is_called_twice_on_a_series_learns_from_both_calls(true_float64):
    def build():
        inputs = keras.Input((12, 4))
        x, shared = layers.Dense(4)(inputs), layers.Conv1D(3, 3)
        return keras.Model(inputs, layers.Subtract()([shared(x), layers.ReLU()(shared(x))]))

    y = np.random.default_rng(1).normal(size=(8, 10, 3))
    assert_trains_alike(compiled(build), X, y, 1e-9)


def test_a_padded_series_keeps_its_channels_innermost():
    series = torch.randn(2, 9, 4).mT
    for padded in (pad_axes(series, [(2, 1)]), pad_same(series, (3,), (1,))):
        assert padded.mT.is_contiguous()
    expected = torch.nn.functional.pad(series, (2, 1))
    assert torch.equal(pad_axes(series, [(2, 1)]), expected)
    replicated = torch.nn.functional.pad(series, (2, 1), mode="replicate")
    assert torch.equal(pad_axes(series, [(2, 1)], "replicate"), replicated)


def two_of_one(merge, wrapped=lambda layer: layer, loss="mse"):
    """A model of what two convolutions of one series give."""

    def build():
        inputs = keras.Input((12, 4))
        x = layers.Dense(4)(inputs)
        model = keras.Model(inputs, merge(*(wrapped(layers.Conv1D(3, 3))(x) for _ in range(2))))
        model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.5), loss)
        return model

    return build


Y = np.random.default_rng(1).normal(size=(8, 10, 3))
ONE_DETACHED = two_of_one(
    lambda one, other: layers.Subtract()([one, keras.ops.stop_gradient(other)])
)
ONE_WITHOUT_LOSS = two_of_one(lambda *both: both, loss=["mse", None])


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("build, y", [(ONE_DETACHED, Y), (ONE_WITHOUT_LOSS, [Y, Y])])
def test_weight_decay_leaves_a_convolution_alone_that_gets_no_gradient(build, y, true_float64):
    assert joins(build()) == 0
    assert_trains_alike(build, X, y, 1e-9)


def test_a_kernel_that_is_divided_before_it_is_read_is_read_after_that(true_float64):
    build = two_of_one(lambda *both: layers.Add()(both), layers.SpectralNormalization)
    assert_trains_alike(build, X, Y, 1e-9)


def test_outputs_that_are_handed_out_may_be_changed_in_place():
    one, other = keras_dawn.to_torch(two_of_one(lambda *both: both)())(
        torch.as_tensor(X, dtype=torch.float32)
    )
    one += other  # torch refuses it for parts of one tensor
