"""Python's operators in layers of one's own: what torch's do, where Keras's do something else."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops


class Bits(layers.Layer):
    def call(self, x):
        return ops.cast(ops.cast(x, "int32") & 1, "float32")


class OtherBits(layers.Layer):
    def call(self, x):
        whole = ops.cast(x, "int32")
        return ops.cast((whole | 4) ^ ~whole, "float32")


class Booleans(layers.Layer):
    """These are the same: it stays native."""

    def call(self, x):
        return ops.cast(((x > 1) & (x < 3)) | ~(x < 5), "float32") - x % 2


class Floors(layers.Layer):
    def call(self, x):
        return ops.cast(x, "int64") // 2 + (x > 1)


class BooleanPlusNumber(layers.Layer):
    def call(self, x):
        return (x > 1) + 2


class Rows(layers.Layer):
    def call(self, x):
        return ops.mean(x[[0, 1]], keepdims=True) + x


class Difference(layers.Layer):
    def call(self, x):
        return x - (x > 1)


class Product(layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 2), name="w")

    def call(self, x):
        return x @ ops.cast(self.w, "bfloat16")


def model_of(kind):
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Rescaling(1.0)(kind()(inputs)))


X = np.array([[1, 2, 3, 5], [2, 0, 1, 7], [3, 3, 2, 1]], "float32")


@pytest.mark.parametrize(
    "kind", [Bits, OtherBits, Booleans, Floors, BooleanPlusNumber, Rows], ids=lambda k: k.__name__
)
def test_operators_do_what_they_do_in_plain_keras(kind):
    keras.utils.set_random_seed(0)
    model = model_of(kind)
    expected = model.predict(X, verbose=0)
    keras_dawn.accelerate(model)
    found = model.predict(X, verbose=0)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
    assert bool(keras_dawn.explain(model).fallbacks) is (kind in LEFT)


LEFT = Bits, OtherBits, Floors, BooleanPlusNumber, Rows  # to their own Python


@pytest.mark.parametrize("kind", [Difference, Product])
def test_what_torch_refuses_is_its_error(kind):
    for accelerate in (False, True):
        model = model_of(kind)
        if accelerate:
            keras_dawn.accelerate(model)
        with pytest.raises(RuntimeError):  # of torch's
            model.predict(X, verbose=0)
