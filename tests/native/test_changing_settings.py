"""Settings that callbacks change under a graph of the whole step count as in plain Keras."""

from unittest import mock

import keras_dawn

import keras
import numpy as np
import pytest
import torch
from keras import layers

from tests.native.cuda_emulator import cuda_graphs_on_a_cpu
from tests.native.graphed import everything
from tests.on_device import on_processor

pytestmark = on_processor  # where a graph is emulated

RANDOM = np.random.default_rng(0)
X = np.float32(RANDOM.normal(size=(48, 4)))
CLASSES = np.eye(3, dtype="float32")[np.arange(48) % 3]

sgd, optimizers = keras.optimizers.SGD, keras.optimizers


class Change:
    """A training of 3 epochs of 6 batches, and what changes before some of its batches."""

    optimizer, loss, regularizer, metrics = sgd, "categorical_crossentropy", None, ()
    tolerance = 1e-5  # beside plain Keras

    def built(self, optimizer):
        """Changes an optimizer between its building and the training."""

    def before(self, model, batch):
        """Changes something before a batch."""

    def train(self, accelerated):
        keras.utils.set_random_seed(0)
        dense = layers.Dense(3, "softmax", kernel_regularizer=self.regularizer)
        model = keras.Sequential([keras.Input((4,)), layers.Dense(3, "tanh"), dense])
        model.compile(self.optimizer(), self.loss, metrics=list(self.metrics))
        model.optimizer.build(model.trainable_variables)
        self.built(model.optimizer)
        if accelerated:
            keras_dawn.accelerate(model)
        steps = iter(range(999))

        def begin(batch, logs):
            self.before(model, next(steps))

        callbacks = [keras.callbacks.LambdaCallback(on_train_batch_begin=begin)]
        history = model.fit(
            X, CLASSES, batch_size=8, epochs=3, shuffle=False, verbose=0, callbacks=callbacks
        )
        counts = [variable for metric in model.metrics for variable in metric.variables]
        return [*everything(model), *map(np.array, counts)], history.history


class Constraint(Change):
    def before(self, model, batch):
        norm = keras.constraints.UnitNorm()
        model.layers[0].kernel.constraint = norm if batch in (9, 10) else None


class Gamma(Change):
    """A number beside a list in what a loss is called with."""

    def __init__(self):
        self.alpha = [0.2, 0.3, 0.4]
        self.loss = keras.losses.CategoricalFocalCrossentropy(self.alpha)

    def before(self, model, batch):
        self.loss._fn_kwargs["gamma"] = 5.0 if batch == 9 else 2.0


class AlphaArray(Change):
    def __init__(self):
        self.alpha = np.array([0.2, 0.3, 0.4])
        self.loss = keras.losses.CategoricalFocalCrossentropy(self.alpha)

    def before(self, model, batch):
        self.alpha[1] = 5.0 if batch == 9 else 0.3


class Thresholds(Change):
    def __init__(self):
        # Not evenly spaced: then each is looked at.
        self.thresholds = list(np.linspace(0.01, 0.99, 300) ** 1.1)
        self.metrics = [keras.metrics.Precision(self.thresholds, name="precision")]

    def before(self, model, batch):
        self.thresholds[0] = 0.4 if batch == 14 else 0.006


class Penalty(Change):
    def __init__(self):
        self.regularizer = keras.regularizers.L1(0.01)

    def before(self, model, batch):
        if batch == 9:
            self.regularizer.l1 *= 3


class Beta(Change):
    def optimizer(self):
        return optimizers.ScheduleFreeAdamW(0.01)

    def before(self, model, batch):
        model.optimizer.beta_2 = 0.99 if batch // 6 % 2 else 0.9


class Momentum(Change):
    setting, on, off = "momentum", 0.9, 0.0

    def optimizer(self):
        return optimizers.RMSprop(0.001, **{self.setting: self.on})

    def built(self, optimizer):
        setattr(optimizer, self.setting, self.off)

    def before(self, model, batch):
        setattr(model.optimizer, self.setting, self.on if batch >= 12 else self.off)


class Centred(Momentum):
    setting, on, off = "centered", True, False


class AMSGrad(Centred):
    setting = "amsgrad"

    def optimizer(self):
        return optimizers.Adam(0.001, amsgrad=True)


class Autocast(Change):
    """One step in half precision, between others."""

    tolerance = 1e-4

    def __init__(self):
        self.inside = torch.autocast("cpu", torch.bfloat16)

    def before(self, model, batch):
        if batch == 9:
            self.inside.__enter__()
        if batch == 10:
            self.inside.__exit__(None, None, None)


CHANGES = [Autocast, Constraint, Gamma, AlphaArray, Thresholds, Penalty, Beta, Momentum, Centred,
           AMSGrad]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_counts_from_the_same_batch_on(change):
    plain, history = change().train(accelerated=False)
    with cuda_graphs_on_a_cpu() as graphs:
        with mock.patch("keras_dawn.native.cuda_graph.MOST_GRAPHS", 0):
            eager, again = change().train(accelerated=True)
        assert not graphs.made
        graphed, as_graph = change().train(accelerated=True)
        assert graphs.made and graphs.replayed > 3
    np.testing.assert_equal(again, as_graph)
    for one, other in zip(eager, graphed, strict=True):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(plain, eager, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=change.tolerance)
    for name, values in history.items():
        np.testing.assert_allclose(values, again[name], rtol=1e-4)


def test_autocast_around_a_fit_trains_the_weights():
    def train(accelerated):
        with torch.autocast("cpu", torch.bfloat16):
            return Change().train(accelerated)

    plain, expected = train(False)
    with cuda_graphs_on_a_cpu():
        accelerated, found = train(True)
    np.testing.assert_allclose(found["loss"], expected["loss"], rtol=2e-2)
    assert found["loss"][-1] < found["loss"][0]
    for one, other in zip(plain, accelerated, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.1, atol=0.02)
