"""Scenarios of what a `fit` counts, and of callbacks that look at its data."""

import warnings

import keras_dawn
from keras_dawn.callbacks import StochasticWeightAveraging
from keras_dawn.distributed.batch_norm import synchronize_batch_normalization

import keras
import numpy as np
import torch
from keras import layers
from scenarios import LOSS, images, in_float64, rank, scenario, state, two_heads


def absolute(targets, outputs):
    return keras.ops.mean(keras.ops.abs(targets - outputs))


class SumOfOutputs(keras.metrics.Metric):
    """Two sums, as the variable itself or as a dict of its parts."""

    sums_over_ranks = True

    def __init__(self, name, parts):
        super().__init__(name=name)
        self.parts = parts
        self.sums = self.add_weight(shape=(2,) if parts else (), initializer="zeros", name="sums")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.sums.assign(self.sums + keras.ops.sum(y_pred, 0 if self.parts else None))

    def result(self):
        return {"first": self.sums[0], "second": self.sums[1]} if self.parts else self.sums


@scenario
def numbers_of_a_batch():
    """Metrics that make one number of a batch, the loss of each output, and what is built late."""
    return in_float64(_of_numbers)


def _of_numbers():
    model = two_heads()
    rate = keras.optimizers.SGD(0.1)
    of_a = [absolute, SumOfOutputs("sums", parts=True)]
    of_b = [keras.losses.MeanSquaredError(), SumOfOutputs("sum", parts=False)]
    model.compile(rate, ["mse", "mae"], metrics=[of_a, of_b])
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    x, y = np.random.default_rng(0).normal(size=(2, 23, 5))
    y = [y[:, :2], y[:, 2:4]]
    first = model.evaluate(x, y, 8, verbose=0)  # of a model that rank 0 alone has so
    history = model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    keras.config.set_dtype_policy("float32")
    result = first + model.evaluate(x, y, 8, verbose=0)
    return {**state(model), "history": history, "result": result, "start": start}


@scenario
def masked_and_normalised():
    """Batch normalisation over the words of all ranks' texts, whose lengths differ."""
    return in_float64(_of_masked_words)


def _of_masked_words():
    keras.utils.set_random_seed(100 + rank())
    keras.config.set_dtype_policy("float64")
    random = np.random.default_rng(2)
    words = random.integers(1, 20, (35, 6))
    words[np.arange(6) >= np.where(np.arange(35) % 2, 2, 6)[:, None]] = 0
    model = keras.Sequential(
        [keras.Input((6,), dtype="int32"), layers.Embedding(20, 4, mask_zero=True),
         layers.BatchNormalization(), layers.Dense(3)]
    )  # fmt: skip
    synchronize_batch_normalization(model)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)  # in float64
    model.compile(keras.optimizers.SGD(1.0), loss)
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    history = model.fit(words, words % 3, 8, epochs=2, shuffle=False, verbose=0).history
    keras.config.set_dtype_policy("float32")
    return {**state(model), "history": history, "start": start}


class InOneRow(layers.Layer):
    """A dense layer on all places of a part at once, whose sizes it asks for."""

    def build(self, shape):
        self.dense = layers.Dense(shape[-1], "tanh")
        self.dense.build((None, shape[-1]))

    def call(self, x):
        batch, length, width = keras.ops.shape(x)
        rows = self.dense(keras.ops.reshape(x, (batch * length, width)))
        return keras.ops.reshape(rows, (batch, length, width))


@scenario
def sizes_of_a_part():
    """One process writes such a graph in torch for the sizes of each batch; ranks do not."""
    return in_float64(_of_sizes)


def _of_sizes():
    keras.utils.set_random_seed(100 + rank())
    keras.config.set_dtype_policy("float64")
    inputs = keras.Input((4, 3))
    model = keras.Model(inputs, layers.Dense(2)(InOneRow()(inputs)))
    model.compile(keras.optimizers.SGD(0.5, momentum=0.5), "mse")
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    x = np.random.default_rng(0).normal(size=(23, 4, 3))
    history = model.fit(x, x[..., :2], 8, epochs=2, shuffle=False, verbose=0).history
    keras.config.set_dtype_policy("float32")
    result = model.evaluate(x, x[..., :2], 8, verbose=0)
    return {**state(model), "history": history, "result": result, "start": start}


class Look(keras.callbacks.Callback):
    def __init__(self, train, validation):
        super().__init__()
        self.train, self.validation, self.seen = train, validation, []

    def on_epoch_end(self, epoch, logs=None):
        predicted = self.model.predict(self.validation, verbose=0)
        self.seen += [predicted.copy(), self.model.evaluate(self.train, verbose=0)]


@scenario
def callbacks_on_shared_data():
    """Predictions, evaluations and new statistics from data that the `fit` has shared out."""
    keras.utils.set_random_seed(5)
    x = inputs = keras.Input((8, 8, 3))
    for layer in (layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten()):
        x = layer(x)
    model = keras.Model(inputs, layers.Dense(10)(x))
    synchronize_batch_normalization(model)
    model.compile(keras_dawn.SGD(0.01), LOSS, metrics=["accuracy"])
    keras_dawn.accelerate(model)
    train, validation = images(37, 8, batch_size=8), images(19, 8)
    look = Look(train, validation)
    model.fit(
        train, validation_data=validation, epochs=2, shuffle=False, verbose=0,
        callbacks=[look, StochasticWeightAveraging(train, start=0.0)],
    )  # fmt: skip
    return {**state(model), "seen": look.seen}


@scenario
def rates_of_each_ranks_own():
    """What is said where a callback sets another rate on each rank."""
    model = keras.Sequential([keras.Input((3,)), layers.Dense(2)])
    model.compile(keras_dawn.SGD(0.01), "mse")
    keras_dawn.accelerate(model)

    def change(epoch, logs=None):
        model.optimizer.learning_rate = 0.01 * (1 + rank())

    callback = keras.callbacks.LambdaCallback(on_epoch_begin=change)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(np.ones((4, 3)), np.ones((4, 2)), epochs=2, verbose=0, callbacks=[callback])
    return {"said": [str(each.message) for each in caught if "differs" in str(each.message)]}


class AsInKerassGuide(keras.Model):
    """Steps as in Keras's guide to steps of one's own, which return one number more."""

    def _step(self, data, training):
        x, y = data
        outputs = self(x, training=training)
        loss = self.compute_loss(y=y, y_pred=outputs)
        for metric in self.metrics:
            if metric.name == "loss":
                metric.update_state(loss)
            else:
                metric.update_state(y, outputs)
        return loss, {metric.name: metric.result() for metric in self.metrics}

    def train_step(self, data):
        self.zero_grad()
        loss, logs = self._step(data, training=True)
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return {**logs, "rate": 0.1}

    def test_step(self, data):
        return self._step(data, training=False)[1]


@scenario
def steps_that_return_metrics():
    return in_float64(_of_the_guide)


def _of_the_guide():
    keras.utils.set_random_seed(100 + rank())
    keras.config.set_dtype_policy("float64")
    inputs = keras.Input((5,))
    model = AsInKerassGuide(inputs, layers.Dense(2)(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae", keras.metrics.R2Score()])
    keras_dawn.accelerate(model)
    start = [torch.as_tensor(w) for w in model.get_weights()]
    x, y = np.random.default_rng(0).normal(size=(2, 23, 5))
    history = model.fit(x, y[:, :2], batch_size=8, epochs=2, shuffle=False, verbose=0).history
    keras.config.set_dtype_policy("float32")
    result = model.evaluate(x, y[:, :2], 8, verbose=0)
    return {**state(model), "history": history, "result": result, "start": start}


class OwnLoss(keras.Model):
    def train_step(self, data):
        x, y = data
        self.zero_grad()
        loss = keras.ops.mean(keras.ops.square(y - self(x, training=True)))
        loss.backward()
        weights = self.trainable_weights
        with torch.no_grad():
            self.optimizer.apply([weight.value.grad for weight in weights], weights)
        return {"loss": loss}


@scenario
def range_test_of_an_own_loss():
    keras.utils.set_random_seed(100 + rank())
    inputs = keras.Input((5,))
    model = OwnLoss(inputs, layers.Dense(2)(inputs))
    model.compile(keras.optimizers.SGD(0.1))
    keras_dawn.accelerate(model)
    x, y = np.random.default_rng(0).normal(size=(2, 23, 5)).astype("float32")
    found = keras_dawn.find_learning_rate(
        model, x, y[:, :2], start=1e-3, end=0.1, steps=6, batch_size=7, shuffle=False
    )
    return {"losses": found.losses, "weights": []}
