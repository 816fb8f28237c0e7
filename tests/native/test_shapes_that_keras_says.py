"""Python that asks for the shape of a result where Keras says another one than there is."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops


class HalfTurned(layers.Layer):
    def call(self, x):
        turned = ops.rot90(ops.expand_dims(x, -1), k=2, axes=(1, 2))
        return x * float(ops.shape(turned)[1])


class Counted(layers.Layer):
    def call(self, x):
        return x * float(ops.shape(ops.count_nonzero(x > 0, axis=1))[0])


class TimesANumber(layers.Layer):
    def call(self, x):
        return x * float(len(ops.kron(x, 2.0).shape))


class Found(layers.Layer):
    """What is positive: how many there are, only the numbers say."""

    def call(self, x):
        count = ops.shape(ops.nonzero(x > 0)[0])[0]
        return x if count is None else 2.0 * x


class Unfolded(layers.Layer):
    """An operation that Keras's graphs cannot compute without a `data_format`."""

    def call(self, x):
        return ops.conv_transpose(x, ops.ones((2, 4, 4)), 2)


class Dtyped(layers.Layer):
    def call(self, x):
        return ops.cast(ops.cast(x, ops.kron(ops.cast(x, "float16"), 2.0).dtype), "float32")


@pytest.mark.parametrize("own", [HalfTurned, Counted, TimesANumber, Found, Unfolded, Dtyped])
def test_python_gets_what_there_is(own):
    inputs = keras.Input((None, 4))
    model = keras.Model(inputs, layers.Dense(3)(own()(inputs)))
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    expected = model.predict(x, verbose=0)
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
