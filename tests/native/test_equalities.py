"""Python that compares tensors, or asks what they are: symbols do as real tensors there."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops


class Zeros(layers.Layer):
    def call(self, x):
        return x + ops.cast(ops.relu(x) == 0, "float32")


class Largest(layers.Layer):
    """Compares whole numbers of two tensors."""

    def call(self, x):
        best = ops.argmax(x, axis=-1)
        return x * ops.cast(best == ops.flip(best, 1), "float32")[..., None]


class Nothing(layers.Layer):
    def call(self, x):
        return x * (2.0 if x == "x" else 3.0)


class Axes(layers.Layer):
    def call(self, x):
        return 2.0 * x if ops.ndim(x) == 3 else x


class Tensors(layers.Layer):
    def call(self, x):
        return 2.0 * x if ops.is_tensor(x) else x


class Same(layers.Layer):
    """A tensor in its own dtype is the tensor itself."""

    def call(self, x):
        return 2.0 * x if ops.cast(x, "float32") is x else x


class Text(layers.Layer):
    def call(self, x):
        return x * len(f"{x.dtype}")


class Texts(layers.Layer):
    def call(self, x):
        return x * len(str(x.shape))


class Kept(layers.Layer):
    def call(self, x):
        kind = x.dtype
        return x * len(f"{kind}") + len(str(kind))


class Sized(layers.Layer):
    """Has the graph lowered for the sizes of each batch."""

    def call(self, x):
        return x * float(ops.shape(x)[0])


OWN = [Zeros, Largest, Nothing, Axes, Tensors, Same, Text, Texts, Kept]


@pytest.mark.parametrize("own", OWN)
@pytest.mark.parametrize("by_sizes", [False, True])
def test_symbols_compare_as_tensors(own, by_sizes):
    inputs = keras.Input((6, 4))
    y = Sized()(inputs) if by_sizes else inputs
    model = keras.Model(inputs, layers.Dense(3)(own()(y)))
    x = np.random.default_rng(0).normal(size=(3, 6, 4)).astype("float32")
    expected = model.predict(x, verbose=0)
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-5)


def test_symbols_are_left_as_they_were():
    before = dict(vars(keras.KerasTensor))
    test_symbols_compare_as_tensors(Zeros, by_sizes=False)
    assert dict(vars(keras.KerasTensor)) == before
