"""Convolutions of one series become one, with the numbers of the model as written."""

import keras_dawn

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
    return keras_dawn.to_torch(model).code.count("joined_convolutions_joined(")


@pytest.mark.parametrize("settings", [{}, {"use_bias": False}, {"kernel_regularizer": "l2"}])
def test_gates_train_as_in_plain_keras(settings, true_float64):
    assert joins(gated(**settings)) == 2
    y = np.random.default_rng(1).normal(size=(8, 12, 3))
    assert_trains_alike(compiled(lambda: gated(**settings)), X, y, 1e-9)


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
