"""Activations of layers, Keras's and the user's: the layer stays native with any of them."""

import keras_dawn
from keras_dawn.native import to_torch
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.test_as_it_is import image_model
from tests.native.test_rules import assert_as_keras
from tests.on_device import torch


def sine(x):
    return ops.sin(x)


def sine_of_torch(x):
    return torch.sin(keras.ops.convert_to_tensor(x))


def sine_of_tensors(x):
    return x.sin()  # no method of Keras's symbolic tensors


class Sine(layers.Layer):
    def call(self, x):
        return ops.sin(x)


ACTIVATIONS = {
    "celu": ("celu", False),
    "hard_tanh": ("hard_tanh", False),
    "log_sigmoid": ("log_sigmoid", False),
    "LeakyReLU": (layers.LeakyReLU(0.1), False),
    "ReLU": (layers.ReLU(max_value=0.3), False),
    "sparse_plus": ("sparse_plus", False),
    "squareplus": ("squareplus", False),
    "function": (sine, False),
    "of torch": (sine_of_torch, False),
    "of tensors": (sine_of_tensors, True),
    "UnitNormalization": (layers.UnitNormalization(), False),
    "own layer": (Sine(), True),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_with_any_activation_stays_native(name, true_float64, gradients_of):
    kind = layers.Dense if len(name) % 2 else layers.Conv2D
    activation, as_it_is = ACTIVATIONS[name]
    if isinstance(activation, keras.Layer):
        activation = type(activation).from_config({**activation.get_config(), "dtype": "float64"})
    size = {} if kind is layers.Dense else {"kernel_size": 3}
    layer = kind(4, activation=activation, name="layer", **size)
    model = image_model(layer)
    x = torch.randn(2, 6, 6, 3, dtype=torch.float64)
    expected = ["layer"] if as_it_is else []
    assert_as_keras(model, x, gradients_of=gradients_of, fallbacks=expected)
    assert layer in lower(model, False).native


def test_an_activation_that_only_exists_at_run_time_is_one_fallback_with_its_name():
    model = image_model(layers.Dense(4, activation=sine_of_tensors, name="layer"))
    explanation = keras_dawn.explain(model)
    assert explanation.native
    ((*layer, reason),) = explanation.fallbacks
    assert layer == ["layer", "Dense"] and reason.startswith("the activation sine_of_tensors")


def test_a_replaced_activation_is_the_one_that_counts():
    model = image_model(layers.Dense(4, "relu", name="layer"))
    model.get_layer("layer").activation = keras.activations.tanh
    x = torch.randn(2, 6, 6, 3)
    torch.testing.assert_close(to_torch(model)(x), model(x))


@pytest.mark.parametrize("native_first", [False, True])
def test_an_activation_is_built_under_its_layers_name(native_first):
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2, layers.PReLU(name="slope"))])
    model.compile("sgd", "mse")
    if native_first:
        keras_dawn.accelerate(model)
    model.predict(np.ones((4, 3)), verbose=0)
    (dense,) = model.layers
    assert dense.activation.alpha.path.endswith(f"{dense.name}/slope/alpha")
