"""Weights without a gradient, and gradients that nobody asked for, as in plain Keras."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from tests.native.test_updates import X, assert_equal, both, everything, fit, network
from tests.native.trained import assert_trains_alike
from tests.on_device import torch


def leave_gradients(model):
    (model(X[:4], training=False) ** 2).sum().backward()


class InterruptBackward(keras.callbacks.Callback):
    """Breaks the second step in the middle of its backward pass."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 1:
            self.handle = self.model.layers[0].cell.kernel.value.register_hook(self.interrupt)

    def interrupt(self, gradient):
        self.handle.remove()
        raise KeyboardInterrupt


def interrupted(model):
    with pytest.raises(KeyboardInterrupt):
        fit(model, callbacks=[InterruptBackward()])


@pytest.mark.parametrize("before", [leave_gradients, interrupted])
def test_gradients_left_over_from_elsewhere_are_not_added(before, true_float64):
    def train(model):
        before(model)
        fit(model)

    assert_equal(*both(lambda: optimizers.SGD(0.1), train))


@pytest.mark.parametrize("trainable", [False, "until the second epoch"])
def test_a_model_without_trainable_weights_is_warned_about_and_reports(trainable):
    def build():
        return [layers.Flatten(), layers.BatchNormalization(), layers.Dense(3)]

    found = []
    for native in (True, False):
        model = network(optimizers.SGD(0.1, momentum=0.9), native, build)
        model.layers[1].trainable = model.layers[2].trainable = bool(trainable)
        model.compile(keras_dawn.SGD(0.1), "mse", metrics=["mae"])
        freeze = keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs, m=model: setattr(m, "trainable", epoch < 1)
        )
        with pytest.warns(UserWarning, match="does not have any trainable weights"):
            loss = fit(model, callbacks=[freeze] if trainable else [])
        found.append([np.array(loss), *model.get_weights()])
    assert_equal(*found, tolerance=1e-5)


class Unused(layers.Layer):
    """Takes its weight into account in every second batch only."""

    def __init__(self):
        super().__init__()
        self.calls = 0

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x):
        self.calls += 1
        return x * self.scale if self.calls % 2 else x * 1.0


@pytest.mark.parametrize(
    "make", [lambda: keras_dawn.SGD(0.1), optimizers.Adam, optimizers.RMSprop,
             lambda: optimizers.SGD(0.1, weight_decay=0.1)]
)  # fmt: skip
def test_weights_without_a_gradient_are_warned_about_and_left_alone(make, true_float64):
    def train(model):
        model.layers[1].calls = 0
        with pytest.warns(UserWarning, match=r"Gradients do not exist.*scale"):
            fit(model)

    def build():
        return [layers.Flatten(), Unused(), layers.Dense(3)]

    assert_equal(*both(make, train, build))


class AttendsToNothing(layers.Layer):
    def build(self, shape):
        self.attention = layers.MultiHeadAttention(1, 4, dropout=1.0)
        self.attention.build(shape, shape)

    def call(self, x):
        return self.attention(x, x)


@pytest.mark.parametrize(
    ("dropout", "missing"), [(lambda: layers.Dropout(1.0), "first"), (AttendsToNothing, "query")]
)
def test_weights_before_a_dropout_of_everything_are_left_alone(dropout, missing, true_float64):
    def train(model):
        with pytest.warns(UserWarning, match=f"Gradients do not exist.*{missing}"):
            fit(model)

    def build():
        return [layers.Dense(4, name="first"), dropout(), layers.Flatten(), layers.Dense(3)]

    assert_equal(*both(lambda: optimizers.SGD(0.1, weight_decay=0.1), train, build))


class OnlyBiases(keras.Sequential):
    """Says for itself which weights are trained."""

    @property
    def trainable_weights(self):
        return [v for v in super().trainable_weights if v.path.endswith("bias")]

    trainable_variables = trainable_weights


@pytest.mark.parametrize("make", [lambda: optimizers.SGD(0.1, weight_decay=0.1), optimizers.Nadam])
def test_a_model_may_choose_its_trainable_weights(make, true_float64):
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(0)
        model = OnlyBiases(
            [keras.Input((2, 4)), layers.Flatten(), layers.Dense(4), layers.Dense(3)]
        )
        model.compile(make(), "mse")
        kernel = model.weights[0].numpy()
        fit(keras_dawn.accelerate(model) if native else model)
        np.testing.assert_array_equal(model.weights[0].numpy(), kernel)
        found.append(everything(model))
    assert_equal(*found)


def test_a_loss_that_no_weight_has_a_part_in_is_keras_s_error():
    def build():
        return [layers.Flatten(), layers.Dense(3), layers.Lambda(lambda x: x.detach())]

    for native in (True, False):
        with pytest.raises(RuntimeError, match="does not require grad"):
            fit(network(optimizers.SGD(0.1), native, build))


@pytest.mark.parametrize("make", [optimizers.SGD, optimizers.Adam, optimizers.RMSprop])
def test_unfreezing_without_compile_is_keras_s_error(make):
    for native in (True, False):
        model = network(make(), native)
        model.layers[0].trainable = False
        model.compile(make(), "mse")
        fit(model, epochs=1)
        model.layers[0].trainable = True
        with pytest.raises(ValueError, match=r"(?s)Unknown variable.*new optimizer"):
            fit(model, epochs=1)


@pytest.mark.parametrize("what", ["layer", "weight"])
def test_what_is_given_to_a_model_without_compile_is_keras_s_error(what):
    for native in (True, False):
        x = keras.Input(X.shape[1:])
        model = keras.Model(x, layers.Dense(3)(layers.Flatten()(x)))
        model.compile(optimizers.Adam(), "mse")
        fit(keras_dawn.accelerate(model) if native else model, epochs=1)
        model.given = layers.Dense(2) if what == "layer" else keras.Variable(0.0)
        if what == "layer":
            model.given.build((None, 3))
        with pytest.raises(ValueError, match=r"(?s)Unknown variable.*new optimizer"):
            fit(model, epochs=1)


class OfUncertainty(keras.losses.Loss):
    """Kendall and Gal's: the squared error by its learned variance."""

    def __init__(self, logarithm):
        super().__init__()
        self.logarithm = logarithm

    def call(self, y_true, y_pred):
        errors = keras.ops.mean(keras.ops.square(y_true - y_pred), axis=-1)
        return errors * keras.ops.exp(-self.logarithm) + self.logarithm


class LossOfItsOwn(keras.Model):
    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean(OfUncertainty(self.logarithm).call(y, y_pred))


def with_a_weight_in_the_loss(kind=keras.Model):
    x = keras.Input((6,))
    model = kind(x, layers.Dense(2)(x))
    model.logarithm = keras.Variable(0.0)
    own = kind is LossOfItsOwn
    model.compile(optimizers.Adam(0.01), None if own else OfUncertainty(model.logarithm))
    return model


def with_a_regularized_layer_beside():
    x = keras.Input((6,))
    model = keras.Model(x, layers.Dense(2)(x))
    model.beside = layers.Dense(3, kernel_regularizer="l2", bias_regularizer=lambda b: b[0])
    model.beside.build((None, 6))
    model.compile(optimizers.Adam(0.01), "mse")
    return model


@pytest.mark.parametrize(
    "build",
    [
        with_a_weight_in_the_loss,
        lambda: with_a_weight_in_the_loss(LossOfItsOwn),
        with_a_regularized_layer_beside,
    ],
)
def test_weights_that_no_layer_of_the_graph_has_are_trained(build, true_float64):
    x, y = np.random.default_rng(0).normal(size=(2, 16, 6))
    assert_trains_alike(build, x, y[:, :2], 1e-10)


class Rows(keras.Model):
    """Rows of a table of torch's, whose gradient is a sparse tensor."""

    def __init__(self):
        super().__init__()
        self.table = layers.TorchModuleWrapper(torch.nn.Embedding(7, 4, sparse=True))
        self.last = layers.Dense(3)

    def call(self, numbers):
        return self.last(keras.ops.mean(self.table(numbers), axis=1))


class RowsOfItsOwnStep(Rows):
    def train_step(self, data):
        self.zero_grad()
        loss = keras.ops.mean((self(data[0], training=True) - data[1]) ** 2)
        loss.backward()
        weights = self.trainable_variables
        self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return {"loss": loss}


@pytest.mark.parametrize("kind", [Rows, RowsOfItsOwnStep])
def test_sparse_gradients_train_as_in_plain_keras(kind):
    def build():
        model = kind()
        model.compile(optimizers.SGD(0.1), "mse")
        return model

    y = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
    assert_trains_alike(build, np.arange(24).reshape(12, 2) % 7, y, 1e-5)
