"""Layers as they are that change tensors in place around native ones train as in plain Keras."""

import keras_dawn
from keras_dawn.native.lowering.changing_python import may_change_in_place
from keras_dawn.native.steps import guarding

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from tests.native.own_models import descend

IMAGES, SERIES = (6, 6, 4), (6, 4)
INNER = {
    "convolution": (lambda: layers.Conv2D(4, 3, padding="same"), IMAGES),
    "depthwise": (lambda: layers.DepthwiseConv2D(3, padding="same"), IMAGES),
    "transposed": (lambda: layers.Conv2DTranspose(4, 3, padding="same"), IMAGES),
    "means": (lambda: layers.AveragePooling2D(3, 1, "same"), IMAGES),
    "highest": (lambda: layers.MaxPooling2D(3, 1, "same"), IMAGES),
    "normalised": (layers.BatchNormalization, IMAGES),
    "lstm": (lambda: layers.LSTM(4, return_sequences=True), SERIES),
    "gru": (lambda: layers.GRU(4, return_sequences=True), SERIES),
    "block": (
        lambda: keras.Sequential(
            [layers.Conv2D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]
        ),
        IMAGES,
    ),
}


def added_to_input(inner, x):
    x += inner(x)
    return x


def added_to_output(inner, x):
    y = inner(x)
    y += x
    return ops.relu(y)


def scaled_after(inner, x):
    y = inner(x)
    x *= 0.5
    return y + x


def written(inner, x):
    y = inner(x)
    y[:, 0] = 0.0
    return y.mul_(0.5)


class Around(layers.Layer):
    """Calls a function with a layer and its input; that it catches errors keeps it as it is."""

    def __init__(self, function, inner):
        super().__init__()
        self.function, self.inner = function, inner

    def call(self, x):
        try:
            return self.function(self.inner, x)
        finally:
            pass


class Stacked(keras.Model):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def call(self, x):
        for layer in self.inside:
            x = layer(x)
        return x


def trained(make, shape, function, accelerated, kind, first=lambda: layers.Dense(4)):
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    x = random.normal(size=(8, *shape)).astype("float32")
    y = random.normal(size=(8, 1)).astype("float32")
    parts = [first(), Around(function, make()), layers.Flatten(), layers.Dense(1)]
    model = Stacked(parts) if kind == "stacked" else keras.Sequential([keras.Input(shape), *parts])
    model.compile(keras.optimizers.SGD(0.001), "mse")
    if accelerated:
        keras_dawn.accelerate(model)
    losses = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history["loss"]
    return [*losses, model.evaluate(x, y, verbose=0), *model.get_weights()]


def expect_equal(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["graph", "stacked"])
@pytest.mark.parametrize("function", [added_to_input, added_to_output, written])
@pytest.mark.parametrize("name", INNER)
def test_what_plain_keras_trains_is_trained(name, function, kind):
    make, shape = INNER[name]
    try:
        expected = trained(make, shape, function, False, kind)
    except RuntimeError as error:
        assert "inplace" in str(error)
        pytest.skip("torch refuses it in plain Keras, too")
    expect_equal(trained(make, shape, function, True, kind), expected)


@pytest.mark.parametrize("name", ["convolution", "means", "lstm"])
def test_what_torch_refuses_in_plain_keras_has_the_gradients_of_its_copies(name):
    def without(inner, x):
        y = inner(x)
        return y + x * 0.5

    make, shape = INNER[name]
    expected = trained(make, shape, without, False, "stacked")
    expect_equal(trained(make, shape, scaled_after, True, "stacked"), expected)


def test_what_the_graph_around_has_saved_may_be_changed():
    def changed(inner, x):
        x += 1.0
        return x

    def first():
        return layers.LSTM(4, return_sequences=True)

    expected = trained(layers.Identity, SERIES, changed, False, "graph", first)
    expect_equal(trained(layers.Identity, SERIES, changed, True, "graph", first), expected)


def test_weights_that_change_before_the_gradients_are_refused_as_in_plain_keras():
    class Model(Stacked):
        def train_step(self, data):
            x, _ = data
            y = self(x, training=True)
            y *= 2.0
            self.inside[1].kernel.assign(self.inside[1].kernel * 2.0)
            loss = ops.mean(y)
            loss.backward()
            return {"loss": loss}

    x = np.ones((4, 3), "float32")
    for accelerated in (False, True):
        model = Model([layers.Dense(3), layers.Dense(2)])
        model.compile("sgd")
        if accelerated:
            keras_dawn.accelerate(model)
        with pytest.raises(RuntimeError, match="modified by an inplace"):
            model.fit(x, x, verbose=0)


def helped(x):
    return added_to_output(lambda y: y, x)


def counted(x):
    number = 0
    outputs = []
    while number < 2:
        number += 1
        outputs += [x * number]
    total = 0.0
    for output in outputs:
        total += output
    return total


def told(x):
    return torch.nn.functional.relu(x, inplace=True)


def kept(x):
    found = {}
    found["x"] = x
    return found["x"].requires_grad_()


class Counts(layers.Layer):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def call(self, x):
        self.calls += 1
        return x


class Holds(layers.Layer):
    def __init__(self):
        super().__init__()
        self.wrapped = torch.nn.ReLU(inplace=True)

    def call(self, x):
        return self.wrapped(x)


@pytest.mark.parametrize("function", [added_to_input, written, helped, told])
def test_python_that_changes_tensors_is_found(function):
    class Own(layers.Layer):
        def call(self, x):
            return function(x)

    assert may_change_in_place(Own())
    assert may_change_in_place(layers.Lambda(function))


@pytest.mark.parametrize("function", [counted, kept])
def test_python_that_changes_none_is_known(function):
    assert not may_change_in_place(layers.Lambda(function))


def test_counters_and_wrapped_modules_are_told_apart():
    assert not may_change_in_place(Counts())
    assert may_change_in_place(Holds().wrapped)  # which Keras has made a layer of
    assert not may_change_in_place(layers.Dense(3, activation="relu"))


class OwnStep(keras.Model):
    """The same step as Keras's, in which nothing is changed in place."""

    def __init__(self):
        super().__init__()
        self.inner = keras.Sequential([layers.Dense(4), layers.LayerNormalization()])

    def call(self, x):
        return self.inner(x)

    def train_step(self, data):
        x, y = data
        loss = self.compute_loss(x, y, self(x, training=True))
        descend(self, loss)
        return {"loss": loss}


def test_who_changes_nothing_in_place_pays_nothing(monkeypatch):
    def refuse(*arguments):
        raise AssertionError("guarded")

    monkeypatch.setattr(guarding, "saving_apart", refuse)
    model = OwnStep()
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    x = np.ones((8, 6), "float32")
    for _ in range(2):
        model.fit(x, x[:, :4], batch_size=4, verbose=0)
        model.predict(x, verbose=0)
