"""What `explain` says of models that have no `call`, or no loss."""

import keras_dawn

import keras
import numpy as np
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
