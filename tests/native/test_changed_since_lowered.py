"""What was so when a layer was lowered, and is not when its next call comes."""

import keras_dawn

import keras
import numpy as np
import pytest
import torch
from keras import layers


class Holding:
    def __init__(self, inside):
        super().__init__()
        self.inside = inside


class Counting(Holding, layers.Layer):
    """Keeps its Python, which does more than compute; the layers inside it compute natively."""

    calls = 0

    def call(self, x):
        Counting.calls += 1
        return self.inside(x)


class Scaled(layers.Layer):
    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="ones")

    def call(self, x):
        return x * self.scale


class Around(Holding, layers.Layer):
    def call(self, x):
        return self.inside(x)


class Switched(layers.Layer):
    """Calls its second layer when it is told to, which builds it then."""

    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(3), layers.Dense(3)
        self.both = False

    def build(self, shape):
        self.first.build(shape)

    def call(self, x):
        return self.second(self.first(x)) if self.both else self.first(x)


class CountingModel(Holding, keras.Model):
    calls = 0

    def call(self, x):
        CountingModel.calls += 1
        return self.inside(x)


class CombiningModel(Holding, keras.Model):
    def call(self, x):
        return self.inside(x)


def around(kind):
    def make(inside):
        inputs = keras.Input((3,))
        return keras.Model(inputs, kind(inside)(inputs))

    return make


X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


def both(make):
    """The model as it is and accelerated, compiled, with the same weights."""
    models = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        model = make()
        model(X[:1])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        models.append(keras_dawn.accelerate(model) if accelerate else model)
    return models


def trained(model):
    return model.fit(X, 2 * X, batch_size=4, shuffle=False, verbose=0).history["loss"]


@pytest.mark.parametrize("make", [around(Counting), CountingModel])
@pytest.mark.parametrize("kind", [lambda: layers.Dense(3), Scaled])
def test_an_activity_regularizer_counts_from_the_step_after_it_was_assigned(make, kind):
    found = []
    for model in both(lambda: make(kind())):
        regularized = model.layers[-1].inside if make is not CountingModel else model.inside
        losses = [trained(model)]
        regularized.activity_regularizer = keras.regularizers.L2(0.1)
        losses += [model.train_on_batch(X[:4], 2 * X[:4]), trained(model)]
        regularized.activity_regularizer = None
        losses += [model.train_on_batch(X[:4], 2 * X[:4]), trained(model)]
        found.append(np.hstack(losses))
    np.testing.assert_allclose(*found, rtol=1e-5)
    assert found[0][1] > found[0][3]


@pytest.mark.parametrize("make", [around(Around), CombiningModel])
def test_a_layer_that_is_built_in_a_later_call_has_weights(make):
    # Looking at the Python with symbolic tensors built it: its weights then had no numbers.
    predicted = []
    for model in both(lambda: make(Switched())):
        trained(model)
        switched = model.layers[-1]
        switched = switched.inside if isinstance(switched, Around) else switched
        switched.both = True
        keras.utils.set_random_seed(1)
        predicted.append(model.predict(X, verbose=0))
        kernel = np.asarray(switched.second.kernel)
        np.testing.assert_array_equal(kernel, np.asarray(switched.second.kernel))
    np.testing.assert_allclose(*predicted, rtol=1e-5)


@pytest.mark.parametrize("make", [around(Around), CombiningModel, CountingModel])
def test_weights_that_the_optimizer_does_not_know_are_an_error_in_every_fit(make):
    for model in both(lambda: make(Switched())):
        trained(model)
        switched = model.layers[-1]
        switched = switched.inside if isinstance(switched, Around) else switched
        switched.both = True
        for _ in range(2):
            with pytest.raises(ValueError, match="Unknown variable"):
                trained(model)


class Listed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = [layers.Dense(3), layers.Dense(3)]

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def test_a_layer_put_into_a_list_which_keras_does_not_track_computes_with_its_weights():
    # Its square kernel was taken transposed from the second `predict` on.
    _, model = both(Listed)
    trained(model)
    other = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    model.parts[0] = other.layers[0]
    for _ in range(3):
        expected = model.parts[1](other(X)).detach().numpy()
        np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5)
        other.set_weights([weights * 2.0 for weights in other.get_weights()])
    keras_dawn.to_torch(other)  # lays its memory out anew
    other.set_weights([weights + 1.0 for weights in other.get_weights()])
    expected = model.parts[1](other(X)).detach().numpy()
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-5)


def projection():
    return layers.EinsumDense("abc,cde->abde", (None, 3, 3))


class Series(layers.Layer):
    """Two convolutions of series in a list."""

    def __init__(self, other_layout=False):
        super().__init__()
        self.parts = [layers.Conv1D(3, 3), layers.Conv1D(3, 3)]
        self.parts += [projection()] if other_layout else []

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return x


def in_a_graph(layer):
    inputs = keras.Input((5, 3))
    return keras.Model(inputs, layer(inputs))


@pytest.mark.parametrize("other_layout", [False, True])
@pytest.mark.parametrize("make", [in_a_graph, CombiningModel])
def test_weights_that_keras_does_not_track_are_laid_out_as_their_layers_want_them(
    make, other_layout
):
    model = keras_dawn.accelerate(make(Series(other_layout)))
    x = np.random.default_rng(0).normal(size=(4, 5, 3)).astype("float32")
    model.predict(x, verbose=0)
    series, other = model.layers[-1], layers.Conv1D(3, 3)
    other.build((None, 5, 3))
    series.parts[0] = other
    if other_layout:  # one kernel that two layers want in two ways
        series.parts[2] = projection()
        series.parts[2].build((None, 1, 3))
        vars(series.parts[2])["_kernel"] = other.kernel
    expected = series(x).detach().numpy()
    for _ in range(2):
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-6)
    assert not keras_dawn.explain(model).fallbacks


@pytest.mark.parametrize("make", [around(Around), CombiningModel, CountingModel])
def test_a_tensor_put_into_a_variable_after_a_training_is_trained(make):
    found = []
    for model in both(lambda: make(layers.Dense(3))):
        trained(model)
        inner = model.layers[-1]
        kernel = getattr(inner, "inside", inner).kernel
        kernel._value = torch.nn.Parameter(torch.ones(3, 3))
        found.append([model.train_on_batch(X, 2 * X), kernel.numpy()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    assert (found[0][1] != 1.0).any()
