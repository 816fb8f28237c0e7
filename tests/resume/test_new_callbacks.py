"""Callbacks that a script has added, or left out, since its training was cut off."""

import csv

import keras_dawn
from keras_dawn.callbacks import ExponentialMovingAverage

import keras
import pytest
import torch

from tests.resume.lives import X, Y, life
from tests.resume.test_callback_states import Told

K = keras.callbacks


def data():
    return X, Y


def test_callbacks_with_states_that_are_new_begin_now(tmp_path, capsys):
    whole = life(tmp_path / "whole", data=data)
    life(tmp_path / "cut", data=data, cut=8)
    capsys.readouterr()
    stop, told = K.EarlyStopping("loss", patience=9), Told("loss")
    best = K.ModelCheckpoint(str(tmp_path / "best.weights.h5"), "loss", save_weights_only=True)
    log = K.CSVLogger(str(tmp_path / "log.csv"))
    new = [stop, log, best, K.ReduceLROnPlateau("loss", patience=9), told, K.TerminateOnNaN()]
    model = life(tmp_path / "cut", data=data, callbacks=new)
    for ours, theirs in zip(model.variables, whole.variables, strict=True):
        assert torch.equal(ours.value, theirs.value)
    assert model.history.history["loss"] == whole.history.history["loss"]
    said = capsys.readouterr().err
    assert said.count(" are new: begin now.") == 1
    for one in new:
        assert type(one).__name__ in said.partition(" are new")[0]
    assert "takes up" not in said
    assert told.steps == 20 - 7  # those after the checkpoint
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]
    assert stop.best == min(whole.history.history["loss"][1:])


def test_a_new_average_begins_with_the_weights_of_the_checkpoint(tmp_path):
    """From the same step on, in a process that has begun with other weights."""

    class Taken(K.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.first = getattr(self, "first", None) or [
                v.value.detach().clone() for v in self.model.trainable_variables
            ]

        def on_train_end(self, logs=None):
            self.average = [one.clone() for one in average._copies]

    average, taken = ExponentialMovingAverage(0.5, every=5), Taken()
    life(tmp_path, data=data, cut=8)
    model = life(tmp_path, data=data, callbacks=[taken, average], seed=2, every_steps=99)
    ends, copies = [v.value.detach() for v in model.trainable_variables], taken.average
    assert average.updates == 3  # ends of the epochs 2, 3 and 4
    assert all(torch.equal(a, b) for a, b in zip(ends, copies, strict=False))
    assert max(float((a - b).abs().max()) for a, b in zip(taken.first, ends, strict=True)) < 0.5


def test_one_that_looks_at_another_metric_is_new_and_the_other_left_out(tmp_path, capsys):
    life(tmp_path, data=data, cut=8, callbacks=[Told("a"), Told("c")])
    again = Told("b"), Told("c")
    life(tmp_path, data=data, callbacks=again)
    said = capsys.readouterr().err
    assert "Told on b is new: begins now." in said
    assert "takes up what has changed: Told on a left out." in said
    assert [one.steps for one in again] == [13, 20]


def test_a_clock_that_has_not_seen_the_beginning_is_refused(tmp_path):
    life(tmp_path, data=data, cut=8)
    with pytest.raises(ValueError, match="has no state of TimeToAccuracy"):
        life(tmp_path, data=data, callbacks=[keras_dawn.TimeToAccuracy(94.0)])
