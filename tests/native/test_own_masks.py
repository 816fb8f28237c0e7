"""Masks on their way through layers of one's own."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

from tests.on_device import torch


class Tokens(layers.Layer):
    """Its output has the mask that an inner layer made."""

    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(7, 8, mask_zero=True)

    def call(self, x):
        return self.tokens(x)


class Twice(layers.Layer):
    """A mask that stays inside."""

    def __init__(self):
        super().__init__()
        self.tokens, self.rest = Tokens(), layers.GlobalAveragePooling1D()

    def call(self, x):
        return self.rest(self.tokens(x))


@pytest.mark.parametrize("kind", ["outside", "inside", "subclassed"])
def test_masks_made_inside_reach_who_reads_them(kind, true_float64):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.twice, self.head = Twice(), layers.Dense(3)

        def call(self, x):
            return self.head(self.twice(x))

    def build():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,), dtype="int32")
        if kind == "outside":
            x = layers.GlobalAveragePooling1D()(Tokens()(inputs))
        model = Model() if kind == "subclassed" else None
        if model is None:
            x = x if kind == "outside" else Twice()(inputs)
            model = keras.Model(inputs, layers.Dense(3)(x))
        model.compile(keras.optimizers.SGD(0.0625), "mse")
        return model

    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 7, (24, 6)), generator.normal(size=(24, 3))
    results = []
    for model in (build(), keras_dawn.accelerate(build())):
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        results.append((model.get_weights(), model.predict(x, verbose=0)))
    if kind != "subclassed":  # there what reads the mask is Keras's call, and so the whole is
        assert keras_dawn.explain(model).layers["Tokens"] == 1
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
