"""A signal that comes when the training is over is not lost."""

import errno
import os
import signal

from keras_dawn import ResumeTraining
from keras_dawn.resume import Evicted, checkpoint_file

import keras
import pytest

from tests.resume.lives import X, Y, life, same, small_model
from tests.resume.test_resume import Cut


class AtTheEnd(keras.callbacks.Callback):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def on_train_end(self, logs=None):
        os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Evicted), (signal.SIGINT, KeyboardInterrupt)]
)
def test_a_signal_in_another_callbacks_end_acts_when_all_have_ended(
    number, error, first, tmp_path, capsys
):
    whole = life(tmp_path / "whole", data=lambda: (X, Y))
    before = signal.getsignal(number)
    keras.utils.set_random_seed(1)
    model, resume, seen = small_model(), ResumeTraining(tmp_path / "cut"), []
    others = [AtTheEnd(number), Cut(), keras.callbacks.LambdaCallback(on_train_end=seen.append)]
    callbacks = [resume, *others] if first else [*others, resume]
    with pytest.raises(error) as raised:
        model.fit(X, Y, 8, epochs=4, verbose=0, callbacks=callbacks)
    assert getattr(raised.value, "code", 75) == 75 and len(seen) == 1
    assert signal.getsignal(number) is before
    same(life(tmp_path / "cut", data=lambda: (X, Y)), whole)
    said = capsys.readouterr().err
    assert "The same command goes on from there" in said
    assert "already complete: nothing trained" in said


class Fails(keras.callbacks.Callback):
    """Fails in the step of a Ctrl-C, as data does whose workers that has ended."""

    def on_train_batch_begin(self, batch, logs=None):
        os.kill(os.getpid(), signal.SIGINT)
        raise RuntimeError("no workers")


def test_a_signal_in_a_try_that_failed_is_not_for_the_next(tmp_path):
    model, resume = small_model(), ResumeTraining(tmp_path)
    with pytest.raises(RuntimeError, match="no workers"):
        model.fit(X, Y, 8, verbose=0, callbacks=[Fails(), resume])
    model.fit(X, Y, 8, epochs=2, verbose=0, callbacks=[resume])
    assert model.history.epoch == [0, 1]


@pytest.mark.parametrize(("full_from", "last"), [(1, "checkpoint-00001-0000000.pt"), (0, None)])
def test_a_stop_on_a_full_disk_is_not_said_to_be_saved(
    full_from, last, tmp_path, monkeypatch, capsys
):
    def full(path, state):
        raise OSError(errno.ENOSPC, "No space left")

    class Fills(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == full_from:
                monkeypatch.setattr(checkpoint_file, "write", full)

        def on_epoch_end(self, epoch, logs=None):
            if epoch == full_from:
                os.kill(os.getpid(), signal.SIGTERM)

    callbacks = [Fills(), ResumeTraining(tmp_path)]
    with pytest.raises(Evicted), pytest.warns(UserWarning, match="No checkpoint was written"):
        small_model().fit(X, Y, 8, epochs=4, verbose=0, callbacks=callbacks)
    said = capsys.readouterr().err
    assert "saved to" not in said
    where = f"{last} in {tmp_path}" if last else "the beginning"
    assert f"could not be saved. The same command goes on from {where}." in said
