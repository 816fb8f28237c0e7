"""Layers of one's own that take and return more than tensors, or are made from Keras's."""

import keras_dawn

import keras
import pytest
from keras import layers, ops

from tests.native.own_calls import Own, called, close, follows, train

# Of layers that a `call` leaves out; plain Keras warns as ours does.
pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")


class Called(Own):
    """Takes tensors and settings by name, and returns `None` among its outputs."""

    def call(self, x, other=None, scale=1.0, way="sum", cache=None, training=None):
        y = self.dense(x) * scale
        if other is not None:
            y = y + other if way == "sum" else y * other
        return y, cache, ops.mean(x, axis=-1, keepdims=True)


class Caller(Own):
    def __init__(self):
        super().__init__()
        self.inner = Called()
        self.scale = 0.25  # a product of layers: with 2.0 some initial weights train to NaN

    def build(self, shape):
        super().build(shape)
        self.inner.build(shape)

    def call(self, x):
        y, cache, _ = self.inner(x, other=self.other(x), scale=self.scale, way="product")
        if cache is None:
            y, cache, mean = self.inner(y, scale=0.5)
        return y * mean


@pytest.mark.parametrize("subclassed", [False, True], ids=["graph", "subclassed"])
def test_arguments_by_name_and_outputs_that_are_none(subclassed, true_float64):
    model = follows(Caller, subclassed)
    assert called(model) == []


class Pyramid(Own):
    """A dict of tensors goes in and comes out."""

    def call(self, inputs):
        return {"sum": self.dense(inputs["a"]) + inputs["b"], "b": self.other(inputs["b"])}


class Spoils(Own):
    """Changes the dict that it is called with, which Keras does not copy for it."""

    def __init__(self):
        super().__init__()
        self._convert_input_args = False

    def call(self, inputs):
        inputs["b"] = self.other(inputs["b"])
        return {"sum": self.dense(inputs["a"]), "b": inputs["b"]}


@pytest.mark.parametrize("kind", [Pyramid, Spoils])
def test_dicts_of_tensors(kind, true_float64):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.own, self.head = kind(), layers.Dense(3)

        def call(self, x):
            inputs = {"a": x, "b": x * 0.5}
            found = self.own(inputs)
            return self.head(ops.mean(found["sum"] * found["b"] * inputs["b"], axis=1))

    results = []
    for accelerated in (False, True):
        keras.utils.set_random_seed(0)
        model = Model()
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        if accelerated:
            keras_dawn.accelerate(model)
        results.append(train(model))
    close(*results)


def swish(x, slope=1.5):
    return x * ops.sigmoid(slope * x)


def test_a_function_as_an_activation_is_lowered(true_float64):
    class Activated(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(8, activation=swish)

        def call(self, x):
            return self.dense(x)

    model = follows(Activated)
    assert called(model) == [] and "sigmoid" in keras_dawn.to_torch(model).code


class Attention(layers.MultiHeadAttention):
    """Keras's attention with a `call` of one's own, which calls Keras's methods."""

    def call(self, query, value, training=None):
        key, value = self._key_dense(value), self._value_dense(value)
        outputs, _ = self._compute_attention(self._query_dense(query), key, value)
        return self._output_dense(outputs)

    def compute_output_spec(self, query, value):
        return keras.KerasTensor(query.shape, query.dtype)


def test_a_layer_of_keras_with_another_call(true_float64):
    class Attends(layers.Layer):
        def __init__(self):
            super().__init__()
            self.attention = Attention(2, 4)

        def build(self, shape):
            self.attention.build(shape, shape)

        def call(self, x):
            return self.attention(x, x)

    assert called(follows(Attends)) == []


class Conditioned(Own):
    """Takes two tensors of other sizes."""

    def call(self, x, condition=None):
        return self.dense(x) * ops.tanh(self.other(condition))

    def build(self, x_shape, condition_shape=None):
        self.dense.build((None, 6, 8))
        self.other.build((None, 6, 3))


class Conditions(Own):
    def __init__(self):
        super().__init__()
        self.inner = Conditioned()

    def build(self, shape):
        self.inner.build(shape)

    def call(self, x):
        return self.inner(x=x, condition=x[..., :3])


@pytest.mark.parametrize("subclassed", [False, True])
def test_inputs_that_are_all_given_by_name_are_not_mixed_up(subclassed, true_float64):
    assert called(follows(Conditions, subclassed)) == []
