"""Weights in another dtype than their layer computes in, with and without `autocast`."""

import keras_dawn
from keras_dawn.foundation.keras_variables import no_autocast

import keras
import pytest
from keras import layers

from tests.on_device import torch


class Scaled(layers.Layer):
    """A dense layer and a weight of its own, in a dtype of its own."""

    def __init__(self, weight_dtype=None, **arguments):
        super().__init__(**arguments)
        self.weight_dtype = weight_dtype

    def build(self, shape):
        self.dense = layers.Dense(4, dtype=self.dtype_policy)
        self.dense.build(shape)
        self.scale = self.add_weight(shape=(4,), dtype=self.weight_dtype, name="scale")

    def call(self, x):
        return self.dense(x) * self.scale


class Around(keras.Model):
    def __init__(self, own):
        super().__init__()
        self.first, self.own = layers.Dense(4), own

    def call(self, x):
        return self.own(self.first(x)) * 2


def alone(own):
    return keras.Sequential([keras.Input((4,)), own])


def in_a_graph(own):
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), own])


def in_an_inner_graph(own):
    outer = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32" if outer.name != "float32" else "mixed_bfloat16")
    inner = keras.Sequential([keras.Input((4,)), own])
    keras.config.set_dtype_policy(outer)
    return keras.Sequential([keras.Input((4,)), layers.Dense(4), inner])


@pytest.mark.parametrize("weight_dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("make", [alone, in_a_graph, in_an_inner_graph, Around])
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_are_read_in_the_dtype_in_which_keras_reads_them(policy, make, autocast, weight_dtype):
    for outer in ("float32", "mixed_bfloat16", "float64"):
        keras.config.set_dtype_policy(outer)
        x = torch.randn(5, 4)
        own = Scaled(weight_dtype, autocast=autocast, dtype=policy)
        model = make(own)
        expected = model(x)
        model.compile("sgd", "mse")
        plain = model.predict(x, verbose=0)
        keras_dawn.accelerate(model)
        found = model.predict(x, verbose=0)
        assert found.dtype == plain.dtype, outer
        assert found == pytest.approx(plain, rel=0.02, abs=0.02)
        if make is not Around:
            assert keras_dawn.to_torch(model)(x).dtype == expected.dtype


def test_a_model_in_half_precision_writes_a_layer_without_autocast_in_torch():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = in_a_graph(Scaled(autocast=False))
    module = keras_dawn.to_torch(model)
    x = torch.randn(5, 4)
    assert module(x).dtype == model(x).dtype == torch.float32
    calls = [node.target for node in module.graph.nodes if node.op == "call_function"]
    assert torch.mul in calls and not any(type(call).__name__ == "KerasCall" for call in calls)


def test_no_scope_leaves_a_variable_its_dtype():
    variable = keras.Variable([1.0], dtype="float64")
    with keras.src.backend.common.variables.AutocastScope("float16"):
        with no_autocast():
            assert variable.dtype == "float64" and variable.value.dtype == torch.float64
        assert variable.dtype == "float16"
