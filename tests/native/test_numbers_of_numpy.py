"""Layers whose settings are numbers of NumPy's, as sizes and rates that were computed often are."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.trained import assert_trains_alike

IMAGES = np.float32(np.random.default_rng(0).random((20, 8, 8, 3)))
LABELS = np.arange(20) % 2
SETTINGS = {
    "epsilon": lambda: [layers.LayerNormalization(epsilon=np.float32(1e-3))],
    "axes": lambda: [layers.Permute(tuple(np.array([2, 1, 3])))],
    "rotation": lambda: [layers.RandomRotation(np.float64(0.1), seed=1)],
    "translation": lambda: [layers.RandomTranslation(1 - np.sqrt(0.8), np.float64(0.2), seed=1)],
    "zoom": lambda: [layers.RandomZoom((-np.float64(0.3), np.float64(0.1)), seed=1)],
    "shear": lambda: [layers.RandomShear(np.float64(0.1), np.float64(0.2), seed=1)],
    "contrast": lambda: [layers.RandomContrast(np.float64(0.1), seed=1)],
    "brightness": lambda: [layers.RandomBrightness(np.float64(0.1), (0.0, 1.0), seed=1)],
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_numpy_is_the_number_that_it_is(name):
    def build():
        stack = [*SETTINGS[name](), layers.Flatten(), layers.Dense(2)]
        model = keras.Sequential([keras.Input((8, 8, 3)), *stack])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss)
        return model

    assert_trains_alike(build, IMAGES, LABELS, 1e-5, steps=4)


def test_the_code_has_python_numbers():
    norm = layers.LayerNormalization(epsilon=np.float64(1e-3))
    code = keras_dawn.to_torch(keras.Sequential([keras.Input((6,)), norm])).code
    assert "0.001" in code
    assert "np." not in code


class OfNumbers(layers.Layer):
    """Its attributes are NumPy's numbers; where Python's operators take them Keras decides."""

    def __init__(self, way):
        super().__init__()
        self.way, self.half, self.double = way, np.float32(0.5), np.float64(2.0)
        self.two, self.yes = np.int64(2), np.bool_(True)

    def call(self, x):
        if self.way == "functions":
            x = keras.ops.multiply(keras.ops.add(x, self.half), self.two)
        elif self.way == "right":
            x = (x + self.half) * self.two - self.double
        elif self.way == "left":
            x = self.half + self.two * x
        elif self.way == "sizes":
            x = keras.ops.reshape(x, (-1, self.two, 32 * 3)) * 0.5
        return x if self.yes else x * 0


@pytest.mark.parametrize("way", ["functions", "right", "left", "sizes"])
def test_attributes_of_an_own_layer_are_numbers(way):
    def build():
        stack = [layers.Dense(3), OfNumbers(way), layers.Flatten(), layers.Dense(2)]
        model = keras.Sequential([keras.Input((8, 8, 3)), *stack])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss)
        return model

    assert_trains_alike(build, IMAGES, LABELS, 1e-5, steps=4)
    model = keras_dawn.accelerate(build())
    model.predict(IMAGES[:2], verbose=0)
    # A number of NumPy's on the left computes with arrays, which symbolic tensors are none.
    assert len(keras_dawn.explain(model).fallbacks) == (way == "left")
