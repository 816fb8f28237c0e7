"""Which logs callbacks see within an epoch, against plain Keras, and how often they are fetched."""

import functools

import keras_dawn
from keras_dawn.foundation.keras_version import VERSION
from keras_dawn.native.steps import metrics
from keras_dawn.native.steps.batch_logs import reads_batch_logs

import keras
import numpy as np
import pytest
import torch

X = np.random.default_rng(0).normal(size=(48, 4)).astype("float32")
Y = X @ np.arange(4.0)[:, None]


def network(rate=0.05):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"])
    return model


def fit(model, data=(X, Y), **arguments):
    settings = {"batch_size": 8, "epochs": 2, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(*data, **settings).history


def seen_by(make_callback, **arguments):
    """What a callback noted under accelerated and under plain training."""
    found = []
    for model in (keras_dawn.accelerate(network(), log_every=4), network()):
        notes = []
        fit(model, callbacks=[make_callback(notes)], **arguments)
        found.append(notes)
    return found


class OnTrainBatchEnd(keras.callbacks.Callback):
    def __init__(self, notes):
        super().__init__()
        self.notes = notes

    def on_train_batch_end(self, batch, logs=None):
        self.notes.append(logs["loss"])


class OnBatchEnd(OnTrainBatchEnd):
    def on_train_batch_end(self, batch, logs=None):
        super(OnTrainBatchEnd, self).on_train_batch_end(batch, logs)

    def on_batch_end(self, batch, logs=None):
        self.notes.append(logs["loss"])


class OnTestBatchEnd(OnTrainBatchEnd):
    on_train_batch_end = keras.callbacks.Callback.on_train_batch_end

    def on_test_batch_end(self, batch, logs=None):
        self.notes.append(logs["mae"])


def in_a_lambda(notes):
    return keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: notes.append(logs["mae"])
    )


@pytest.mark.parametrize("make", [OnTrainBatchEnd, OnBatchEnd, OnTestBatchEnd, in_a_lambda])
def test_a_callback_that_reads_batch_logs_gets_each_batch_s(make):
    ours, theirs = seen_by(make, validation_data=(X, Y))
    assert len(theirs) == 12 and ours == pytest.approx(theirs, rel=1e-5)


def test_a_callback_in_a_list_made_by_hand_gets_each_batch_s():
    found = []
    for model in (keras_dawn.accelerate(network()), network()):
        notes = []
        callbacks = keras.callbacks.CallbackList(
            [OnTrainBatchEnd(notes)], add_history=True, model=model, epochs=1, steps=6, verbose=0
        )
        for _ in range(2):
            fit(model, epochs=1, callbacks=callbacks)
        found.append(notes)
    assert found[0] == pytest.approx(found[1], rel=1e-5) and len(found[1]) == 12


@pytest.mark.parametrize("use_generator", [False, True])
def test_terminate_on_nan_stops_at_the_batch_that_plain_keras_stops_at(use_generator):
    found = []
    x = X.copy()
    x[17] = np.nan  # of the third batch
    for model in (keras_dawn.accelerate(network()), network()):
        batches = ((x[at : at + 8], Y[at : at + 8]) for at in range(0, 48, 8))
        data, steps = ((batches,), {"batch_size": None}) if use_generator else ((x, Y), {})
        callbacks = [keras.callbacks.TerminateOnNaN()]
        history = fit(model, data, epochs=5, callbacks=callbacks, **steps)
        found.append((len(history["loss"]), int(model.optimizer.iterations)))
    assert found == [(1, 3), (1, 3)]


def test_without_readers_logs_are_fetched_every_few_steps_and_for_the_last(monkeypatch):
    fetched = []
    fetch = metrics.as_numbers
    monkeypatch.setattr(metrics, "as_numbers", lambda r: fetched.append(r) or fetch(r))
    model = keras_dawn.accelerate(network(), log_every=4)

    class Schedule(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.optimizer.learning_rate = 0.01 / (batch + 1)

    fit(model, callbacks=[Schedule()])
    assert len(fetched) == 2 * 3  # the first, the fifth and the last of six batches


def test_the_progress_bar_ends_an_epoch_with_the_exact_logs(capsys):
    model = keras_dawn.accelerate(network(), log_every=50)
    loss = fit(model, verbose=1, epochs=1)["loss"][0]
    assert f"loss: {loss:.4f}" in capsys.readouterr().out.splitlines()[-1]


class Ignoring(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        self.steps = batch


class Renaming(keras.callbacks.Callback):
    def on_train_batch_end(self, step, numbers=None):
        self.loss = numbers


class Taking(keras.callbacks.Callback):
    def on_train_batch_end(self, *arguments):
        self.arguments = arguments


class Partial(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.on_train_batch_end = functools.partial(print, "batch")


def noted(function):
    @functools.wraps(function)
    def wrapper(self, batch, logs=None):
        print(logs)
        return function(self, batch, logs)

    return wrapper


class Decorated(keras.callbacks.Callback):
    @torch.no_grad()
    @noted
    def on_train_batch_end(self, batch, logs=None):
        pass


class WithoutGradient(keras.callbacks.Callback):
    @torch.no_grad()
    def on_train_batch_end(self, batch, logs=None):
        pass


@pytest.mark.parametrize(
    ("callback", "reads"),
    [
        (Ignoring(), False),
        (Renaming(), True),
        (Taking(), True),
        (Partial(), True),
        (keras.callbacks.ProgbarLogger(), False),
        (keras.callbacks.CSVLogger("unused.csv"), False),
        (keras.callbacks.TerminateOnNaN(), True),
        (keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: None), False),
        (keras.callbacks.ModelCheckpoint("unused.keras"), False),
        (keras.callbacks.ModelCheckpoint("unused.keras", save_freq=2), True),
        (keras_dawn.OneCycle(0.1), False),
        (keras_dawn.callbacks.ExponentialMovingAverage(0.9), False),  # under torch.no_grad()
        (Decorated(), True),
        (WithoutGradient(), False),
    ],
)
def test_only_callbacks_that_use_batch_logs_are_waited_for(callback, reads):
    assert reads_batch_logs([callback], "train") is reads
    assert not reads_batch_logs([callback], "test") or isinstance(
        callback, keras.callbacks.ModelCheckpoint
    )


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_steps_per_execution_is_refused_in_keras_s_words_or_steps_plainly(method):
    model = network()
    model.compile("sgd", "mse", steps_per_execution=4)
    keras_dawn.accelerate(model)
    if VERSION >= (3, 16):  # Keras's torch backend has it from there on
        getattr(model, method)(*((X,) if method == "predict" else (X, Y)), batch_size=4, verbose=0)
        assert str(keras_dawn.explain(model)) == "plain Keras: steps_per_execution"
        return
    with pytest.raises(ValueError, match="must be 1 with the PyTorch backend"):
        getattr(model, method)(*((X,) if method == "predict" else (X, Y)), batch_size=4)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [({}, 2 * 2), ({"verbose": 2}, 2 * 4), ({"callbacks": [OnTrainBatchEnd([])]}, 2 * 6)],
)
def test_logs_are_fetched_only_where_a_batchs_end_is_seen(monkeypatch, arguments, expected):
    fetched = []
    numbers = metrics.as_numbers
    monkeypatch.setattr(metrics, "as_numbers", lambda x: fetched.append(1) or numbers(x))
    model = keras_dawn.accelerate(network(), log_every=2)
    found = fit(model, **arguments)
    assert len(fetched) == expected
    assert found["loss"] == pytest.approx(fit(network())["loss"])
