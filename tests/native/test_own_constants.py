"""Layers of one's own that compute with numbers, and return what does not depend on the input."""

import math

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch


class Scaled(layers.Layer):
    """NumPy's functions of numbers, names made of numbers, settings of Keras."""

    def __init__(self):
        super().__init__()
        self.denses, self.width = [layers.Dense(8), layers.Dense(8)], 8

    def build(self, shape):
        for dense in self.denses:
            dense.build(shape)

    def call(self, x):
        found = {}
        for number, dense in enumerate(self.denses):
            found["dense" + str(number)] = dense(x)
        slope = 2 if math.log2(self.width).is_integer() else 3
        if keras.config.backend() != "torch" or keras.config.image_data_format() == "none":
            slope = 5
        return (found["dense0"] - found["dense1"]) * (slope / np.sqrt(self.width))


class Compares(layers.Layer):
    """Compares tensors, as DeBERTa does, beside a dtype that it keeps."""

    def call(self, x):
        dtype = x.dtype
        inside = (x < 0.5) & (x > -0.5)
        return ops.where(inside, x * 2.0, ops.cast(x, dtype))


class Branches(layers.Layer):
    """Does one thing for a dtype, and another for others."""

    def call(self, x):
        kind = str(x.dtype)
        return x * 2.0 if kind == "torch.float64" else x * 3.0


class Positions(layers.Layer):
    """Its output is the same for all numbers of a size."""

    def call(self, x):
        return ops.broadcast_to(ops.arange(8, dtype=x.dtype), ops.shape(x))


class Ones(layers.Layer):
    def call(self, x):
        return ops.ones(ops.shape(x))


class Several(layers.Layer):
    """An output of no numbers beside the real one."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(8)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        return self.dense(x), ops.zeros((0, 8), x.dtype), ops.ones((1, 8), x.dtype)


CASES = {
    "numbers": lambda x: Scaled()(x),
    "comparisons": lambda x: Compares()(x),
    "branches": lambda x: Branches()(x),
    "positions": lambda x: layers.Dense(8)(x) * Positions()(x),
    "several": lambda x: ops.multiply(*Several()(x)[::2]),
}


@pytest.mark.parametrize("batch", [None, 8])
@pytest.mark.parametrize("case", CASES)
def test_they_are_native_and_compute_as_in_plain_keras(case, batch, true_float64):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(24, 8)), generator.normal(size=(24, 3))
    results = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8,), batch_size=batch)
        model = keras.Model(inputs, layers.Dense(3)(CASES[case](inputs)))
        model.compile(keras.optimizers.SGD(0.01), "mse")
        if accelerate:
            keras_dawn.accelerate(model)
        model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        results.append([*model.get_weights(), model.predict(x, batch_size=8, verbose=0)])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
    assert bool(keras_dawn.explain(model).fallbacks) == (case == "branches")


def test_a_constant_that_is_changed_in_place_afterwards_is_not_kept():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.ones, self.dense = Ones(), layers.Dense(3)

        def call(self, x):
            found = self.ones(x)
            found.add_(x)  # of the user's, in torch
            return self.dense(found)

    model = Model()
    x = np.ones((4, 8), "float32")
    expected = np.asarray(model(x).detach())
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    for _ in range(3):
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5)
