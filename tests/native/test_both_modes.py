"""A layer that is called in both modes within one step computes and averages as in plain Keras."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.trained import assert_trains_alike


class BothModes(keras.Model):
    """One normalisation in both modes within a step, as a part of a GAN may be called."""

    def __init__(self, whole):
        super().__init__()
        self.whole, self.norm = whole, layers.BatchNormalization(name="norm")
        self.inner = keras.Sequential([keras.Input((4,)), self.norm]) if whole else self.norm
        self.head = layers.Dense(2)

    def call(self, x, training=None):
        return self.head(self.inner(self.inner(x, training=False), training=training))


@pytest.mark.parametrize("whole", [False, True], ids=["layer", "model inside"])
def test_a_normalisation_may_be_called_in_both_modes_in_one_step(whole, true_float64):
    def build():
        model = BothModes(whole)
        model(np.zeros((1, 4)))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, 4)), random.normal(size=(8, 2))
    assert_trains_alike(build, x, y, 1e-10, steps=8)
