"""The logs of accelerated training and evaluation have plain Keras's keys and values."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, metrics, ops

X = np.random.default_rng(0).normal(size=(44, 4)).astype("float32")
Y = np.arange(44, dtype="float32")[:, None]  # the loss grows along the data
ONE_HOT = np.eye(3, dtype="float32")[np.arange(44) % 3]


class Watch(layers.Layer):
    """Passes its input on and keeps its mean."""

    def __init__(self):
        super().__init__()
        self.activity = metrics.Mean(name="activity")

    def call(self, x):
        self.activity.update_state(ops.mean(x))
        return x


class MoreResults(keras.Model):
    def get_metrics_result(self):
        results = super().get_metrics_result()
        return {**results, "rate": 0.5, "double": results["loss"] * 2}


class FewerMetrics(keras.Model):
    @property
    def metrics(self):
        return super().metrics[:1]


class TwoMeans(metrics.Mean):
    """A metric with several results."""

    def update_state(self, targets, outputs, sample_weight=None):
        super().update_state(ops.mean(outputs, axis=-1))

    def result(self):
        return {"mean": super().result(), "count": self.count.value}


class Shared(metrics.Metric):
    """A metric that hands out its own variable, not a copy."""

    def __init__(self):
        super().__init__(name="shared")
        self.sums = self.add_variable(shape=(3,), initializer="zeros")

    def update_state(self, targets, outputs, sample_weight=None):
        self.sums.assign_add(ops.sum(outputs, axis=0))

    def result(self):
        return self.sums.value


def one(kind=keras.Model, watch=False, units=1, **compile):
    inputs = keras.Input((4,))
    hidden = Watch()(inputs) if watch else inputs
    return kind(inputs, layers.Dense(units)(hidden)), {"loss": "mse", **compile}


def two(structure=list, **compile):
    inputs = keras.Input((4,))
    outputs = {name: layers.Dense(1, name=name)(inputs) for name in ("b", "a")}
    outputs = outputs if structure is dict else list(outputs.values())
    return keras.Model(inputs, outputs), {"loss": "mse", **compile}


def per_output(kind):
    return {"b": kind[0], "a": kind[1]}


CASES = {
    "two losses": (lambda: two(), [Y, Y]),
    "two losses by name": (
        lambda: two(dict, loss=per_output(("mse", "mae")), loss_weights=per_output((0.5, 2.0))),
        {"a": Y, "b": Y},
    ),
    "two losses and a metric": (
        lambda: two(loss=["mse", "mae"], metrics=[["mae"], None], weighted_metrics=[["mse"], []]),
        [Y, Y],
    ),
    "a loss for one output": (lambda: two(dict, loss={"a": "mse", "b": None}), {"a": Y, "b": Y}),
    "a metric in a layer": (lambda: one(watch=True), Y),
    "a metric in a layer and accuracy": (
        lambda: one(watch=True, units=3, metrics=["accuracy"]),
        ONE_HOT,
    ),
    "more results": (lambda: one(MoreResults, metrics=["mae"]), Y),
    "fewer metrics": (lambda: one(FewerMetrics, metrics=["mae"]), Y),
    "the same name twice": (
        lambda: one(metrics=["mae", "mae"], weighted_metrics=["mae", "mae"]),
        Y,
    ),
    "a metric named loss": (lambda: one(metrics=[metrics.MeanSquaredError(name="loss")]), Y),
    "a result for each class": (
        lambda: one(units=3, metrics=["accuracy", metrics.F1Score(), Shared()]),
        ONE_HOT,
    ),
    "several results of a metric": (lambda: one(metrics=[TwoMeans(name="means")]), Y),
    "none but the loss": (lambda: one(), Y),
}


@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # plain Keras's, too
@pytest.mark.parametrize("name", CASES)
def test_keys_and_values_of_the_logs_are_plain_keras_s(name):
    make, y = CASES[name]
    found = []
    for native in (True, False):
        keras.utils.set_random_seed(0)
        model, compile_arguments = make()
        model.compile(keras.optimizers.SGD(0.001), **compile_arguments)
        if native:
            keras_dawn.accelerate(model)
        batches = []
        spy = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs, b=batches: b.append(logs)
        )
        settings = {"batch_size": 8, "verbose": 0}
        history = model.fit(
            X, y, epochs=2, shuffle=False, validation_data=(X, y), callbacks=[spy], **settings
        ).history
        some = {k: v[:8] for k, v in y.items()} if isinstance(y, dict) else (
            [v[:8] for v in y] if isinstance(y, list) else y[:8]
        )  # fmt: skip
        found.append((
            history, *batches, model.evaluate(X, y, return_dict=True, **settings),
            dict(enumerate(keras.tree.flatten(model.evaluate(X, y, **settings)))),
            model.train_on_batch(X[:8], some, return_dict=True),
            model.test_on_batch(X[:8], some, return_dict=True),
        ))  # fmt: skip
    for ours, theirs in zip(*found, strict=True):
        assert list(ours) == list(theirs)
        for key, value in theirs.items():
            np.testing.assert_allclose(ours[key], value, rtol=1e-5, atol=1e-6, err_msg=str(key))


def test_an_epoch_s_last_logs_are_fresh_where_results_change_their_names():
    """Keras then keeps the logs of the last step."""

    class Growing(keras.Model):
        asked = 0

        def get_metrics_result(self):
            self.asked += 1
            return {**super().get_metrics_result(), f"answer {self.asked}": 1.0}

    losses = []
    for native in (True, False):
        keras.utils.set_random_seed(0)
        model, compile_arguments = one(Growing)
        model.compile(keras.optimizers.SGD(0.001), **compile_arguments)
        if native:
            keras_dawn.accelerate(model, log_every=50)
        losses.append(model.fit(X, Y, batch_size=8, shuffle=False, verbose=0).history["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
