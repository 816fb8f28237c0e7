"""Losses that a layer adds in one mode only: no step counts those of an earlier one."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

RANDOM = np.random.default_rng(0)
X, Y = RANDOM.normal(size=(10, 4)), RANDOM.normal(size=(10, 2))


class AddsInTraining(layers.Layer):
    """Adds its loss while it trains, as one that balances experts does."""

    def call(self, x, training=None):
        if training:
            self.add_loss(0.01 * ops.sum(ops.square(x)))
        return x


def graph():
    inputs = keras.Input((4,))
    hidden = AddsInTraining()(layers.Dense(3)(inputs))
    return keras.Model(inputs, layers.Dense(2, kernel_regularizer="l2")(hidden))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.adds, self.head = layers.Dense(3), AddsInTraining(), layers.Dense(2)
        self(X)

    def call(self, x, training=None):
        return self.head(self.adds(self.first(x), training=training))


BUILDS = {"graph": graph, "subclassed": Subclassed}


def train(build, native):
    """What a training with validation and an evaluation give, and the losses left behind."""
    keras.utils.set_random_seed(1)
    model = build()
    model.compile("sgd", "mse")
    if native:
        keras_dawn.accelerate(model)
    data = {"batch_size": 4, "shuffle": False, "validation_data": (X, Y), "verbose": 0}
    logs = model.fit(X, Y, epochs=2, **data).history
    model(X, training=True)
    logs |= {"evaluated": model.evaluate(X, Y, verbose=0)}
    return [*logs.values(), [float(one.detach()) for one in model.losses]]


@pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)
def test_a_loss_added_in_training_is_not_in_a_later_evaluation(build, true_float64):
    ours, theirs = train(build, True), train(build, False)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


class Penalises(layers.Layer):
    """Adds two losses, one by a method of its own."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, "relu")

    def build(self, shape):
        self.dense.build(shape)

    def _penalise(self, y, factor):
        self.add_loss([factor * ops.mean(ops.square(y)), ops.sum(y) / 1000])

    def call(self, x):
        y = self.dense(x)
        self._penalise(y, 0.01)
        return y


class Adds(keras.Model):
    """Its `call` adds a loss, and so do a layer that it calls twice and one in a graph inside."""

    def __init__(self):
        super().__init__()
        inputs = keras.Input((3,))
        self.first, self.twice = layers.Dense(3), Penalises()
        self.inner = keras.Model(inputs, layers.Dense(2)(Penalises()(inputs)))
        self(X)

    def call(self, x):
        y = self.twice(self.twice(self.first(x)))
        self.add_loss(ops.mean(ops.exp(-ops.square(y))) / 256)
        return self.inner(y)


def accelerated(model):
    model.compile("sgd", "mse")
    return keras_dawn.accelerate(model)


def test_a_call_that_adds_losses_is_lowered_and_leaves_plain_keras_s(true_float64):
    ours, theirs = train(Adds, True), train(Adds, False)
    assert len(ours[-1]) == 7
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    model = accelerated(Adds())
    model.fit(X, Y, verbose=0)
    found = keras_dawn.explain(model)
    assert found.python is None and found.fallbacks == [] and found.layers["Exp"] == 1


def test_predict_leaves_the_losses_of_the_last_batch_as_ordinary_tensors():
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = Adds()
        if native:
            accelerated(model)
        model.predict(X[:8], batch_size=4, verbose=0)
        assert not any(loss.is_inference() for loss in model.losses)
        found.append([float(loss) for loss in model.losses])
    assert len(found[0]) == 7
    np.testing.assert_allclose(*found, rtol=1e-5)


class Doubles(Adds):
    """Has an `add_loss` of its own."""

    def add_loss(self, loss):
        super().add_loss(2 * loss)


def function_on_the_instance():
    model = Adds()
    model.add_loss = lambda loss: None
    return model


@pytest.mark.parametrize("build", [Doubles, function_on_the_instance])
def test_an_add_loss_of_the_user_s_is_called(build, true_float64):
    ours, theirs = train(build, True), train(build, False)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)


class AddsNoTensor(keras.Model):
    def __init__(self, what):
        super().__init__()
        self.dense, self.weight, self.what = layers.Dense(2), self.add_weight(shape=()), None
        self(X)
        self.what = what

    def call(self, x):
        if self.what == "a number":
            self.add_loss(1.0)
        if self.what == "a weight":
            self.add_loss(self.weight)
        return self.dense(x)


@pytest.mark.parametrize("what", ["a number", "a weight"])
def test_a_loss_that_is_no_tensor_is_plain_keras_s_error(what):
    with pytest.raises(ValueError, match="on a tensor input. Received invalid value"):
        accelerated(AddsNoTensor(what)).predict(X, verbose=0)
