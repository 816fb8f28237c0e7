"""Models around a layer of one's own, trained accelerated and in plain Keras."""

import random

import keras_dawn

import keras
import numpy as np
from keras import layers

from tests.on_device import torch


class Subclassed(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.first, self.own = layers.Dense(8), layer()
        self.flatten, self.head = layers.Flatten(), layers.Dense(3)

    def call(self, x):
        return self.head(self.flatten(self.own(self.first(x))))


def build(layer, subclassed=False):
    keras.utils.set_random_seed(0)
    if subclassed:
        model = Subclassed(layer)
    else:
        inputs = keras.Input((6, 8))
        x = layer()(layers.Dense(8)(inputs))
        model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    model.compile(
        keras.optimizers.SGD(0.0625, momentum=0.875),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def data(count=40):
    generator = np.random.default_rng(0)
    return generator.normal(size=(count, 6, 8)), generator.integers(0, 3, count)


def train(model, **arguments):
    x, y = data()
    random.seed(0)
    history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0, **arguments)
    return history.history["loss"], model.get_weights(), model.predict(x, verbose=0)


def follows(layer, subclassed=False):
    """Trains both ways, holds one against the other, and returns the accelerated model."""
    expected = train(build(layer, subclassed))
    model = keras_dawn.accelerate(build(layer, subclassed))
    found = train(model)
    close(found, expected)
    return model


def close(found, expected):
    """Losses, which Keras keeps in float32, weights and predictions."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-9, atol=1e-10)


def called(model):
    """The classes of the layers that were called as they are."""
    report = str(keras_dawn.explain(model))
    return [line.split("(")[1].split(")")[0] for line in report.splitlines() if "itself" in line]


class Called(layers.Layer):
    """One function of a tensor."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def call(self, x):
        return self.function(x)


class Own(layers.Layer):
    """A dense layer, and what a test makes of it."""

    def __init__(self):
        super().__init__()
        self.dense, self.other = layers.Dense(8), layers.Dense(8)
        self.drop = layers.Dropout(0.5)
        self.debug, self.scale, self.calls = False, 2.0, 0
        self.nested, self.table = (1.0, [2.0]), {"factors": [2.0]}
        self.factors = torch.tensor([1.0, 2.0] * 4, dtype=torch.float64)
        self.number = torch.tensor(3.0, dtype=torch.float64)

    def build(self, shape):
        for layer in (self.dense, self.other):
            layer.build(shape["a"] if isinstance(shape, dict) else shape)


class Setter(keras.callbacks.Callback):
    """Changes something between epochs that the layer's Python reads."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            self.change(self.model)
