"""Losses that a layer adds in one mode only: no step counts those of an earlier one."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(10, 4)), RANDOM.normal(size=(10, 2))


class AddsInTraining(layers.Layer):
    """Adds its loss while it trains, as one that balances experts does."""

    def call(self, x, training=None):
        if training:
            self.add_loss(0.01 * ops.sum(ops.square(x)))
        return x


def graph():
    inputs = keras.Input((4,))
    hidden = AddsInTraining()(layers.Dense(3)(inputs))
    return keras.Model(inputs, layers.Dense(2, kernel_regularizer="l2")(hidden))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.adds, self.head = layers.Dense(3), AddsInTraining(), layers.Dense(2)
        self(X)

    def call(self, x, training=None):
        return self.head(self.adds(self.first(x), training=training))


BUILDS = {"graph": graph, "subclassed": Subclassed}


def train(build, native):
    """What a training with validation and an evaluation give, and the losses left behind."""
    keras.utils.set_random_seed(1)
    model = build()
    model.compile("sgd", "mse")
    if native:
        keras_dawn.accelerate(model)
    data = {"batch_size": 4, "shuffle": False, "validation_data": (X, Y), "verbose": 0}
    logs = model.fit(X, Y, epochs=2, **data).history
    model(X, training=True)
    logs |= {"evaluated": model.evaluate(X, Y, verbose=0)}
    return [*logs.values(), [float(one.detach()) for one in model.losses]]


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_loss_added_in_training_is_not_in_a_later_evaluation(build, true_float64):
    ours, theirs = train(build, True), train(build, False)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
