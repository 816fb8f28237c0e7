"""Unusual habits of subclassed models and own steps: accelerated as in plain Keras."""

import copy
import pickle

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops

from tests.on_device import on_processor

RANDOM = np.random.default_rng(0)
X, Y, SERIES = (RANDOM.normal(size=shape) for shape in ((21, 6), (21, 2), (21, 4, 6)))
IMAGES = RANDOM.normal(size=(21, 8, 8, 3))


class Habits(keras.Model):
    """Layers to be called in whatever way a test is about."""

    uses = ("first", "norm", "dropout", "head")
    makes = {
        "first": lambda: layers.Dense(5, use_bias=False),
        "norm": lambda: layers.BatchNormalization(momentum=0.7),
        "dropout": lambda: layers.Dropout(0.3),
        "head": lambda: layers.Dense(2),
        "relu": layers.ReLU,
        "regularized": lambda: layers.Dense(5, kernel_regularizer="l2", activity_regularizer="l1"),
    }

    def __init__(self):
        super().__init__()
        for name in self.uses:  # Keras warns of layers that are never built
            setattr(self, name, self.makes[name]())
        self.calls = 0


class Branches(Habits):
    def call(self, x, training=None):
        x = self.norm(self.first(x), training=training)
        return self.head(2 * self.dropout(x) if training else x)


class ThreeModes(Habits):
    """One layer in both modes and in that of the context, within one call."""

    def call(self, x, training=False):
        x = self.first(x)
        both = self.norm(x, training=True) + self.norm(x, training=False) * self.norm(x)
        return self.head(self.dropout(both, training=True) + self.dropout(both))


class Remembers(Habits):
    """Python state, a lazily made layer, and an output that is read as a number."""

    uses = ("head",)

    def call(self, x):
        self.calls += 1
        if not hasattr(self, "lazy"):
            self.lazy = layers.Dense(5)
        hidden = self.lazy(x)
        mean = float(hidden.detach().cpu().numpy().mean())
        return self.head(hidden) * (1 + 0.1 * self.calls) + mean


class AddsLosses(Habits):
    uses = ("regularized", "head")

    def __init__(self):
        super().__init__()
        self.mean = keras.metrics.Mean(name="activity")

    def call(self, x, training=False):
        x = self.regularized(x)
        self.mean.update_state(ops.mean(x))
        self.add_loss(0.1 * ops.mean(ops.square(x)))
        return self.head(x)


class ChangesInPlace(Habits):
    """Results of layers are written to, and read again after a layer that could overwrite them."""

    uses = ("first", "relu", "head")

    def call(self, x):
        hidden = self.first(x).mul_(2)
        return self.head(self.relu(hidden) + hidden).mul_(0.9) + ops.mean(self.relu(x) + x)


class UsesKernels(Habits):
    """A weight is tied: it is used by its layer and by the model itself."""

    uses = ("first", "head")

    def call(self, x):
        return self.head(ops.matmul(self.first(x), ops.transpose(self.first.kernel)))


class Checkpoints(Habits):
    """In the backward pass, batch normalisation is called a second time."""

    uses = ("first", "norm", "head")

    def call(self, x, training=False):
        def part(x):
            return self.norm(self.first(x), training=training)

        return self.head(torch.utils.checkpoint.checkpoint(part, x, use_reentrant=False))


class CopiesItself(Habits):
    """Layers are copied and pickled while a step runs."""

    uses = ("first", "norm", "head")

    def call(self, x, training=False):
        hidden = self.first(x)
        if training:
            copied, loaded = copy.deepcopy(self.first), pickle.loads(pickle.dumps(self.norm))
            assert type(copied) is layers.Dense and type(loaded) is layers.BatchNormalization
            hidden = hidden + copied(x) + loaded(hidden, training=False)
        return self.head(self.norm(hidden, training=training))


class LearningRateInside(Branches):
    def train_step(self, data):
        self.optimizer.learning_rate = 0.05 / (1 + int(self.optimizer.iterations))
        return super().train_step(data) | {"rate": self.optimizer.learning_rate}


class Accumulates(Branches):
    """Gradients of two steps add up before one is taken."""

    def train_step(self, data):
        x, y = data
        loss = self.compute_loss(x, y, self(x, training=True))
        loss.backward()
        self.calls += 1
        if self.calls % 2 == 0:
            weights = self.trainable_variables
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
            self.zero_grad()
        return {"loss": loss}


class Penalised(Branches):
    """The gradient of the outputs with respect to the inputs is a part of the loss."""

    def train_step(self, data):
        x, y = data
        x = x.clone().requires_grad_(True)
        self.zero_grad()
        outputs = self(x, training=True)
        (slope,) = torch.autograd.grad(outputs.sum(), x, create_graph=True)
        loss = ops.mean(ops.square(outputs - y)) + ops.mean(ops.square(slope))
        loss.backward()
        weights = self.trainable_variables
        self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return {"loss": loss}


class Alternates(keras.Model):
    """A GAN whose networks are frozen in turn, within each step."""

    def __init__(self):
        super().__init__()
        self.built = True
        self.generator, self.critic = (
            keras.Sequential(
                [keras.Input((6,)), layers.Dense(5), layers.BatchNormalization(), layers.Dense(n)]
            )
            for n in (6, 1)
        )
        self.critics_optimizer = keras.optimizers.SGD(0.05, momentum=0.9)

    def call(self, x, training=False):
        return self.critic(self.generator(x, training=training), training=training)

    def _step(self, optimizer, network, loss):
        self.zero_grad()
        loss.backward()
        weights = network.trainable_weights
        optimizer.apply([weight.value.grad for weight in weights], weights)

    def train_step(self, data):
        x, _ = data
        self.critic.trainable, self.generator.trainable = True, False
        made = self.generator(x, training=True).detach()
        gap = ops.mean(self.critic(made, training=True)) - ops.mean(self.critic(x, training=True))
        self._step(self.critics_optimizer, self.critic, gap)
        self.critic.trainable, self.generator.trainable = False, True
        fooled = -ops.mean(self(x, training=True))
        self._step(self.optimizer, self.generator, fooled)
        self.critic.trainable = True
        return {"gap": gap, "fooled": fooled}


def numbers(model, data):
    """Everything that training, evaluation and prediction leave behind, as flat arrays."""
    history = model.fit(*data, epochs=3, batch_size=7, shuffle=False, verbose=0).history
    evaluated = model.evaluate(*data, batch_size=7, verbose=0, return_dict=True)
    predicted = model.predict(data[0], batch_size=7, verbose=0)
    variables = [*model.variables, *model.optimizer.variables]
    return history, evaluated, [predicted, *(variable.numpy() for variable in variables)]


def assert_same(make, data=(X, Y)):
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = make()
        model.compile(keras.optimizers.Adam(0.01, epsilon=0.001), "mse")
        if native:
            keras_dawn.accelerate(model)
        found.append(numbers(model, data))
        assert not native or engine_of(model).is_native()
    ours, plain = found
    for one, other in zip(ours, plain, strict=True):
        if isinstance(other, dict):
            assert list(one) == list(other)
        for x, y in zip(keras.tree.flatten(one), keras.tree.flatten(other), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    "kind",
    [
        Branches,
        ThreeModes,
        Remembers,
        AddsLosses,
        ChangesInPlace,
        UsesKernels,
        Checkpoints,
        CopiesItself,
        LearningRateInside,
        Accumulates,
        Penalised,
        Alternates,
    ],
)
def test_a_habit_is_as_in_plain_keras(kind, true_float64):
    assert_same(kind)


def penalised(*makers):
    """A model whose loss is differentiated twice through the layers given."""

    class Model(Penalised):
        uses = ("head",)

        def __init__(self):
            super().__init__()
            self.all = [make() for make in makers]
            self.flatten = layers.Flatten()

        def call(self, x, training=False):
            for layer in self.all:
                x = layer(x)
            return self.head(self.flatten(x))

    return Model


TWICE = {
    "normalizations": (lambda: layers.Dense(4), layers.LayerNormalization, layers.RMSNormalization),
    "images": (
        lambda: layers.Conv2D(4, 3, 2, "same", activation="silu"),
        lambda: layers.GroupNormalization(2),
        lambda: layers.Conv2DTranspose(3, 3),
        lambda: layers.MaxPooling2D(2),
    ),
    "separable": (lambda: layers.SeparableConv2D(4, 3), layers.PReLU, layers.AveragePooling2D),
    "series": (lambda: layers.Conv1D(4, 3, padding="causal"), layers.ELU),
    "recurrent": (lambda: layers.LSTM(4, return_sequences=True), lambda: layers.GRU(3)),
}


# On a GPU plain Keras cannot: its LSTM and GRU are cuDNN's (see `test_second_derivatives.py`).
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=on_processor) if n == "recurrent" else n for n in TWICE]
)
def test_layers_can_be_differentiated_twice(name, true_float64):
    makers = [lambda m=make: m(2) if m is layers.AveragePooling2D else m() for make in TWICE[name]]
    image = name in ("images", "separable")
    series = name in ("series", "recurrent")
    assert_same(penalised(*makers), (IMAGES if image else SERIES if series else X, Y))


class SaysNone(Habits):
    uses = ("first", "head")

    def call(self, x):
        return {"a": self.head(self.first(x)), "aside": None}


def test_an_output_may_be_none(true_float64):
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = SaysNone()
        model.compile("sgd", {"a": "mse"})
        if native:
            keras_dawn.accelerate(model)
        model.fit(X, {"a": Y}, epochs=2, shuffle=False, verbose=0)
        found.append(model.evaluate(X, {"a": Y}, verbose=0))
    assert found[0] == pytest.approx(found[1], rel=1e-10)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_training_goes_on_after_an_error_in_the_middle_of_a_call(error, true_float64):
    class Fails(Branches):
        def call(self, x, training=None):
            x = self.norm(self.first(x), training=training)
            self.calls += 1
            if self.calls == 4:
                raise error("of the user's")
            return self.head(self.dropout(x, training=training))

    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = Fails()
        model.compile("adam", "mse")
        if native:
            keras_dawn.accelerate(model)
        with pytest.raises(error, match="of the user's"):
            model.fit(X, Y, batch_size=7, epochs=3, shuffle=False, verbose=0)
        assert type(model.norm) is layers.BatchNormalization
        found.append(numbers(model, (X, Y))[2])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_two_accelerated_models_train_the_layers_that_they_share(true_float64):
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        one = Branches()
        inputs = keras.Input((6,))
        hidden = one.norm(one.first(inputs))
        other = keras.Model(inputs, layers.Dense(2)(hidden))
        one.compile("adam", "mse")
        other.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
        if native:
            keras_dawn.accelerate(one), keras_dawn.accelerate(other)
        results = [numbers(model, (X, Y))[2] for _ in range(2) for model in (one, other)]
        found.append([array for arrays in results for array in arrays])
    for mine, plain in zip(*found, strict=True):
        np.testing.assert_allclose(mine, plain, rtol=1e-9, atol=1e-12)
