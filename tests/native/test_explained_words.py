"""What `explain` says of models that have no `call`, or no loss."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.own_models import GAN


class Added(layers.Layer):
    def call(self, x):
        self.add_loss(keras.ops.mean(keras.ops.square(x)))
        return x


def test_a_model_with_a_step_and_no_call_is_not_said_to_have_one():
    model = GAN()
    model.compile(keras.optimizers.Adam(0.01), keras.optimizers.Adam(0.01))
    keras_dawn.accelerate(model)
    model.fit(np.ones((8, 6), "float32"), batch_size=4, verbose=0)
    words = str(keras_dawn.explain(model))
    assert "train_step" in words and "call" not in words


def test_a_model_without_a_loss_is_said_to_be_compiled_without():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2), Added()])
    model.compile("sgd")
    keras_dawn.accelerate(model)
    model.fit(np.ones((8, 3), "float32"), batch_size=4, verbose=0)
    assert keras_dawn.explain(model).loss.endswith("compiled without a loss")


@pytest.mark.parametrize(
    "kind", [layers.Dot, layers.Multiply, layers.Maximum, layers.Minimum], ids=lambda k: k.__name__
)
@pytest.mark.parametrize("hidden", ["Lambda", "penalty"])
def test_a_dtype_that_is_known_at_run_time_only_is_the_reason_that_is_said(kind, hidden):
    inputs = keras.Input((20, 3))
    if hidden == "Lambda":  # what it returns, and whether with a mask, is its own affair
        behind = layers.Lambda(lambda x: x * 2)(inputs)
    else:
        behind = layers.Dense(3, activity_regularizer="l2")(inputs)
    layer = kind(axes=2) if kind is layers.Dot else kind()
    model = keras.Model(inputs, layer([inputs, behind]))
    reasons = {name: reason for name, _, reason in keras_dawn.explain(model).fallbacks}
    if hidden == "penalty" and kind is layers.Multiply:  # needs no dtype, and there is no mask
        assert layer.name not in reasons
        return
    assert reasons[layer.name] == "an input whose dtype is known at run time only"
