"""Masks in graphs that are written in torch for the sizes of each batch."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of
from keras_dawn.native.steps.sized_forward import SizedForward

import keras
import numpy as np
from keras import layers, ops

from tests.native.sized_models import Doubled


class Weighed(layers.Layer):
    """Asks for sizes, and reads the mask of its input if there is one."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, x, mask=None):
        batch, length, width = ops.shape(x)
        x = ops.reshape(ops.reshape(x, (batch * length, width)), (batch, length, width))
        return x if mask is None else x * ops.cast(ops.expand_dims(mask, -1), x.dtype)


def model():
    inputs = keras.Input((None,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(inputs)
    x = Weighed()(layers.Dense(4)(Doubled()(x)))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling1D()(x)))


def test_python_that_asks_for_sizes_and_reads_a_mask_is_written_down():
    keras.utils.set_random_seed(0)
    plain, x = model(), np.array([[1, 2, 3, 0], [4, 0, 0, 0]], "int32")
    expected = plain.predict(x, verbose=0)
    found = keras_dawn.accelerate(plain).predict(x, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert isinstance(engine_of(plain).steps.forward, SizedForward)
    assert keras_dawn.explain(plain).is_whole()
