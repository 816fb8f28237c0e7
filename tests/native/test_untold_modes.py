"""Layers that Python of the user's tells no mode, or another one: what Keras then takes it for."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

X = np.random.default_rng(0).normal(size=(12, 4, 4, 2)).astype("float32")
Y = np.random.default_rng(1).normal(size=(12, 3)).astype("float32")


def graph(*inner):
    return keras.Sequential([keras.Input((4, 4, 2)), *inner])


class Untold(keras.Model):
    """Calls its parts without a mode."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = [*parts, graph(layers.Flatten(), layers.Dense(3))]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


class OwnStep(Untold):
    def train_step(self, data):
        x, y = data
        loss = ops.mean(ops.square(self(x) - y))
        self.zero_grad()
        loss.backward()
        weights = self.trainable_weights
        self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return {"loss": loss}


def flips_then_normalises():
    """The normalisation after a flip trains, too."""
    return [graph(layers.RandomFlip(seed=1), layers.Dropout(0.5, seed=2)),
            layers.BatchNormalization()]  # fmt: skip


def drops_always():
    inputs = keras.Input((4, 4, 2))
    dropped = layers.Dropout(0.5, seed=1)(inputs, training=True)
    return [keras.Model(inputs, layers.Dropout(0.5, seed=2)(dropped))]


def drops_then_flips():
    """What dropout takes for the mode is what the flip after it is told."""
    return [graph(layers.Dropout(0.5, seed=1)), layers.RandomFlip(seed=2)]


def flips_by_a_layer_of_its_own():
    class Own(layers.Layer):
        def __init__(self):
            super().__init__()
            self.flip = layers.RandomFlip(seed=1)

        def call(self, x, training=None):
            return 2.0 * self.flip(x, training=training)

    return [Own()]


def trained(kind, parts, accelerated):
    keras.utils.set_random_seed(0)
    model = kind(*parts())
    model.compile(keras.optimizers.SGD(0.1), "mse")
    if accelerated:
        keras_dawn.accelerate(model)
    model.fit(X, Y, 4, epochs=2, shuffle=False, verbose=0)
    outputs = model.predict(X[:5], verbose=0)
    return [outputs, *model.get_weights()]


@pytest.mark.parametrize("kind", [Untold, OwnStep])
@pytest.mark.parametrize(
    "parts", [flips_then_normalises, drops_always, drops_then_flips, flips_by_a_layer_of_its_own]
)
def test_a_layer_that_nobody_tells_the_mode_takes_its_own(kind, parts):
    ours, theirs = trained(kind, parts, True), trained(kind, parts, False)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Drops(layers.Layer):
    """Dropout in a mode of its own, which Keras tells the layers after it, too."""

    def __init__(self, mode):
        super().__init__()
        self.mode, self.drop = mode, layers.Dropout(0.5, seed=1)

    def call(self, x):
        return self.drop(x, training=self.mode)


class Normalises(layers.Layer):
    def __init__(self):
        super().__init__()
        self.norm = layers.BatchNormalization(momentum=0.5)

    def call(self, x):
        return self.norm(x)


class OneAfterTheOther(layers.Layer):
    def __init__(self, *parts):
        super().__init__()
        self.parts = list(parts)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def in_a_graph(*parts):
    return graph(*parts, layers.Flatten(), layers.Dense(3))


@pytest.mark.parametrize("kind", [in_a_graph, Untold])
@pytest.mark.parametrize("mode", [True, False, None])
def test_a_mode_that_one_layer_is_told_holds_for_those_after_it(kind, mode):
    def parts():
        inside = OneAfterTheOther(Drops(mode), Normalises())
        return [OneAfterTheOther(inside, Normalises()), Normalises()]

    ours, theirs = trained(kind, parts, True), trained(kind, parts, False)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
