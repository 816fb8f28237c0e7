"""What is put back when a training begins, and again within an epoch, is the same both times."""

import contextlib

from keras_dawn import ResumeTraining

import keras
import pytest
import torch

from tests.resume.lives import X, Y, ends_the_same, life, same, small_model
from tests.resume.test_resume import Cut


def data():
    return X, Y


class Slower(keras.callbacks.Callback):
    """Changes in place what it was given to go on from."""

    def __init__(self):
        super().__init__()
        self.epochs, self.rates = torch.zeros(1), {"of epochs": []}

    def state_dict(self):
        return {"epochs": self.epochs, "rates": self.rates}

    def load_state_dict(self, state):
        self.epochs, self.rates = state["epochs"], state["rates"]

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs += 1
        self.rates["of epochs"].append(0.1 / float(self.epochs))
        self.model.optimizer.learning_rate = sum(self.rates["of epochs"]) / 2


@pytest.mark.parametrize("cuts", [(8,), (10,), (13, 4)])
def test_a_part_may_change_in_place_what_it_is_given(cuts, tmp_path):
    ends_the_same(tmp_path, cuts, data=data, callbacks=lambda: [Slower()])


class FailsToBegin(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        raise RuntimeError("cut off")


def test_a_restart_that_fails_before_its_first_epoch_leaves_no_trace(tmp_path):
    model = small_model()
    for folder, others in (("a", [Cut(8)]), ("a", [FailsToBegin()]), ("b", [])):
        callbacks = [*others, ResumeTraining(tmp_path / folder)]
        with contextlib.suppress(RuntimeError):
            model.fit(X, Y, 8, epochs=3, verbose=0, callbacks=callbacks)
    assert model.history.epoch == [0, 1, 2]


class StopAt(keras.callbacks.Callback):
    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == self.at:
            self.model.stop_training = True


class DiesAfter(keras.callbacks.Callback):
    """Ends its process in the validation at the end of an epoch, before that is saved."""

    def on_test_begin(self, logs=None):
        if self.model.stop_training:
            raise RuntimeError("cut off")


@pytest.mark.parametrize("at", [7, 9])
def test_a_wish_to_stop_within_an_epoch_outlives_the_process(at, tmp_path):
    how = {"data": data, "every_steps": 1, "validation_data": (X[:8], Y[:8])}
    whole = life(tmp_path / "whole", callbacks=[StopAt(at)], **how)
    life(tmp_path / "cut", callbacks=[StopAt(at), DiesAfter()], **how)
    again = life(tmp_path / "cut", callbacks=[StopAt(at)], **how)
    assert int(again.optimizer.iterations) == at
    same(again, whole)
    finished = life(tmp_path / "cut", callbacks=[StopAt(at)], **how)
    assert int(finished.optimizer.iterations) == at
