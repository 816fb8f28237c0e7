"""Layers that say which sizes they take: each batch is looked at where a graph leaves them open."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
from keras import layers


class OfFive(layers.Layer):
    """Takes series of five steps alone, as it says."""

    def __init__(self):
        super().__init__()
        self.input_spec = layers.InputSpec(shape=(None, 5, None))

    def call(self, x):
        return x * 2.0


def prelu():
    layer = layers.PReLU(alpha_initializer="ones", shared_axes=[2])
    layer.build((None, 5, 4))
    return layer


class Held(layers.Layer):
    """Python of one's own around a layer."""

    def __init__(self, make):
        super().__init__()
        self.inside = make()

    def build(self, shape):
        self.built = True

    def compute_output_shape(self, shape):
        return shape

    def call(self, x):
        return self.inside(x) + 1.0


class Around(keras.Model):
    """A model that keeps its Python, around a layer."""

    def __init__(self, make):
        super().__init__()
        self.first, self.calls = make(), 0

    def call(self, x):
        self.calls += 1
        return self.first(x)


def functional(make):
    inputs = keras.Input((None, 4))
    return keras.Model(inputs, make()(inputs))


def nested(make):
    inputs = keras.Input((None, 4))
    return keras.Model(inputs, functional(make)(layers.Dense(4)(inputs)))


MODELS = functional, nested, Around, lambda make: functional(lambda: Held(make))


@pytest.mark.parametrize("make", [OfFive, prelu])
@pytest.mark.parametrize("model", MODELS, ids=["functional", "nested", "around", "held"])
def test_a_batch_of_other_sizes_is_refused_as_in_plain_keras(make, model):
    x = np.random.default_rng(0).normal(size=(3, 5, 4)).astype("float32")
    model = model(make)
    expected = model.predict(x, verbose=0)
    with pytest.raises(ValueError, match="incompatible with the layer"):
        model.predict(x[:, :1], verbose=0)  # which torch would spread out to five
    keras_dawn.accelerate(model)
    for _ in range(2):
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
        assert not keras_dawn.explain(model).fallbacks
        with pytest.raises(ValueError, match="incompatible with the layer|is for inputs of shape"):
            model.predict(x[:, :1], verbose=0)


def test_a_layer_that_was_lowered_for_many_sizes_refuses_others():
    model = Around(lambda: layers.PReLU(alpha_initializer="ones", shared_axes=[1]))
    x = np.random.default_rng(0).normal(size=(2, 30, 5, 4)).astype("float32")
    model(x)
    keras_dawn.accelerate(model)
    for height in range(1, 30):  # the last ones for sizes that are not known
        np.testing.assert_allclose(model.predict(x[:, :height], verbose=0), x[:, :height])
    with pytest.raises(ValueError, match="incompatible with the layer"):
        model.predict(x[:, :, :1], verbose=0)


def test_sizes_that_are_known_are_not_looked_at_again():
    inputs = keras.Input((None, 4))
    x = layers.Conv1D(4, 3)(layers.Dense(4)(inputs))
    model = keras.Model(inputs, layers.PReLU(shared_axes=[1])(x))
    keras_dawn.accelerate(model)
    model.predict(np.ones((3, 5, 4)), verbose=0)
    assert "of_sizes" not in engine_of(model).steps.forward.evaluating.module.code
    assert "of_sizes" in keras_dawn.to_torch(functional(prelu)).code


def test_what_is_looked_at_keeps_its_mask():
    words, activation = (
        layers.Embedding(9, 4, mask_zero=True),
        layers.PReLU("uniform", shared_axes=[2]),
    )
    activation.build((None, 6, 4))
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, activation(words(inputs)))
    model.compile("sgd", "mse")
    x = np.array([[1, 2, 0, 0, 0, 0], [3, 4, 5, 6, 0, 0]])
    expected = model.evaluate(x, np.ones((2, 6, 4)), verbose=0)
    keras_dawn.accelerate(model)
    found = model.evaluate(x, np.ones((2, 6, 4)), verbose=0)
    assert found == pytest.approx(expected, rel=1e-6)
    assert not keras_dawn.explain(model).fallbacks
