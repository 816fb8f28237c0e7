"""`Normalization` with a given mean and variance, in models that Keras builds from shapes alone."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

GIVEN = {
    "numbers": {"mean": 0.1, "variance": 2.0},
    "a number a feature": {"mean": [0.0, 0.1, 0.2], "variance": [1.0, 2.0, 3.0]},
    "inverted": {"mean": 0.1, "variance": 2.0, "invert": True},
    "all axes": {"mean": 0.3, "variance": 0.5, "axis": None},
}


class Subclassed(keras.Model):
    def __init__(self, *parts):
        super().__init__()
        self.parts = list(parts)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


@pytest.mark.parametrize("settings", GIVEN)
@pytest.mark.parametrize("kind", [keras.Sequential, Subclassed])
def test_the_given_numbers_are_used(kind, settings):
    x = np.random.default_rng(0).normal(size=(5, 4, 3)).astype("float32")
    parts = layers.Normalization(**GIVEN[settings]), layers.GRU(2)
    model = keras_dawn.accelerate(kind(list(parts)) if kind is keras.Sequential else kind(*parts))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(x, np.zeros((5, 2)), verbose=0)  # in plain Keras with whatever lies in memory
    found = model.predict(x, verbose=0)
    known = keras.Sequential(
        [keras.Input((4, 3)), layers.Normalization(**GIVEN[settings]), parts[1]]
    )
    np.testing.assert_allclose(found, known.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(model(x)), rtol=1e-5, atol=1e-6)
