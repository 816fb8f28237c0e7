"""A rate that a script compiles otherwise, beside callbacks that set the rate themselves."""

import contextlib
import os
import signal

from keras_dawn import OneCycle, ResumeTraining
from keras_dawn.resume import Evicted

import keras
import pytest

from tests.resume.lives import X, Y, life, small_model
from tests.resume.test_resume import Cut
from tests.resume.this_process import ThisProcess, as_another_process

K = keras.callbacks
STEPS = []


class Rates(ThisProcess):
    """The rate of each step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(round(float(self.model.optimizer.learning_rate), 6))


def rates(folder, *, setter, compiled, cut=None, epochs=3):
    """The rates of a process's steps, five an epoch."""
    as_another_process(1)
    model, seen = small_model(optimizer=keras.optimizers.SGD(compiled, momentum=0.9)), Rates()
    callbacks = [*setter, Cut(cut), seen, ResumeTraining(folder, every_steps=1)]
    try:
        model.fit(X, Y, 8, epochs=epochs, verbose=0, callbacks=callbacks)
    except RuntimeError as error:
        assert "cut off" in str(error)
    return seen.seen


def scheduler():
    return [K.LearningRateScheduler(lambda epoch: 0.1 * 0.5**epoch)]


def plateau():
    """Halves the rate after the second epoch, which is not so much better."""
    return [K.ReduceLROnPlateau("loss", 0.5, patience=1, min_delta=9.0, cooldown=9)]


class Asks(ThisProcess):
    """Asks this process to stop in a step of its own."""

    def __init__(self, at):
        super().__init__()
        self.at_step, self.steps = at, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.steps += 1
        if self.steps == self.at_step:
            os.kill(os.getpid(), signal.SIGINT)


def cycle():
    return [OneCycle()]


@pytest.mark.parametrize("make", [list, scheduler, cycle])
def test_a_rate_that_is_set_between_two_tries_counts_as_a_compiled_one_does(make, tmp_path, capsys):
    as_another_process(1)
    model = small_model(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))

    def train(asks=0):
        seen = Rates()
        callbacks = [*make(), seen, Asks(asks), ResumeTraining(tmp_path)]
        with contextlib.suppress(KeyboardInterrupt):
            model.fit(X, Y, 8, epochs=3, verbose=0, callbacks=callbacks)
        return seen.seen

    if make is cycle:  # sets its numbers back, and has set them anew before it is asked
        steps = train()
        model = small_model(optimizer=keras.optimizers.SGD(0.1, momentum=0.9))
        tmp_path /= "again"
        assert train(8) + train() == steps and "as set" not in capsys.readouterr().err
        return
    train(8)
    assert train(2) == ([0.1] * 2 if make is list else [0.05] * 2)
    assert "takes up" not in (said := capsys.readouterr().err) and "not taken up" not in said
    model.optimizer.learning_rate = 0.01
    assert train(2) == ([0.01] * 2 if make is list else [0.025] * 2)
    said = capsys.readouterr().err
    if make is scheduler:
        assert "learning_rate 0.05 → 0.01 as set is not taken up: LearningRateScheduler" in said
        return
    assert "takes up what has changed: learning_rate 0.1 → 0.01" in said
    # The next process knows what was compiled, and what is in force.
    assert rates(tmp_path, setter=[], compiled=0.1, cut=1) == [0.01]
    assert "learning_rate" not in capsys.readouterr().err
    assert rates(tmp_path, setter=[], compiled=0.7) == [0.7] * 2
    assert "learning_rate 0.1 → 0.7 (0.01 was in force)" in capsys.readouterr().err


def test_the_rate_of_a_scheduler_goes_on_within_an_epoch(tmp_path, capsys):
    rates(tmp_path, setter=scheduler(), compiled=0.1, cut=8)
    assert rates(tmp_path, setter=scheduler(), compiled=0.7) == [0.05] * 2 + [0.025] * 5
    said = capsys.readouterr().err
    assert "learning_rate 0.1 → 0.7 as compiled is not taken up: LearningRateScheduler sets" in said
    assert "goes on from 0.05;" in said and "takes up" not in said


def test_the_rate_of_one_cycle_does_not_ask_for_the_compiled_one_unless_it_is_its_own(
    tmp_path, capsys
):
    for peak in (0.2, None):
        folder, setter = tmp_path / str(peak), lambda peak=peak: [OneCycle(peak)]
        rates(folder, setter=setter(), compiled=0.1, cut=8)
        again = rates(folder, setter=setter(), compiled=0.7)
        whole = 0.2 if peak else 0.7
        assert again == rates(tmp_path / f"{peak}-whole", setter=setter(), compiled=whole)[8:]
        assert ("is not taken up: OneCycle sets" in capsys.readouterr().err) == (peak is not None)


class Counts(K.Callback):
    """Counts in a list of the module."""

    def on_train_batch_begin(self, batch, logs=None):
        STEPS.append(batch)


def test_values_of_a_module_that_go_on_are_not_called_attributes(tmp_path, capsys):
    for cut in (8, None):
        STEPS.clear()
        life(tmp_path, data=lambda: (X, Y), callbacks=[Counts()], cut=cut, epochs=2)
    said = capsys.readouterr().err
    assert "values that are used by Counts.on_train_batch_begin go on: STEPS." in said


def test_a_reduction_in_force_goes_on_until_its_callback_is_left_out(tmp_path, capsys):
    rates(tmp_path, setter=plateau(), compiled=0.1, cut=11)
    assert rates(tmp_path, setter=plateau(), compiled=0.08, cut=2) == [0.05] * 2
    said = capsys.readouterr().err
    assert "ReduceLROnPlateau sets the learning_rate, which goes on from 0.05; for the" in said
    assert rates(tmp_path, setter=[], compiled=0.08) == [0.08] * 2
    assert "learning_rate 0.1 → 0.08 (0.05 was in force)" in capsys.readouterr().err


def test_without_a_reduction_the_compiled_rate_counts(tmp_path, capsys):
    rates(tmp_path, setter=plateau(), compiled=0.1, cut=3)
    assert rates(tmp_path, setter=plateau(), compiled=0.08, epochs=1) == [0.08] * 2
    assert "takes up what has changed: learning_rate 0.1 → 0.08, epochs" in capsys.readouterr().err


class Worse(K.Callback):
    """Gives a loss that the first epoch has the best of."""

    def on_epoch_end(self, epoch, logs=None):
        logs["loss"] = 1.0 + epoch


def test_a_best_model_counts_where_its_file_is(tmp_path, capsys):
    def run(name, cut):
        path = str(tmp_path / name)
        best = K.ModelCheckpoint(path, "loss", save_best_only=True, save_weights_only=True)
        life(
            tmp_path / "saved",
            data=lambda: (X, Y),
            callbacks=[Worse(), best],
            cut=cut,
            epochs=2,
            every_steps=1,
        )
        return best.best

    assert run("first.weights.h5", 7) == 1.0
    (tmp_path / "moved.weights.h5").write_bytes(b"a copy")
    assert run("moved.weights.h5", 1) == 1.0
    assert (tmp_path / "moved.weights.h5").read_bytes() == b"a copy"
    assert "begins anew" not in capsys.readouterr().err
    assert run("new.weights.h5", None) == 2.0 and (tmp_path / "new.weights.h5").exists()
    said = capsys.readouterr().err
    assert "no file is: its best begins anew there, without loss 1 in " in said
    assert "filepath of ModelCheckpoint" in said


def test_a_best_model_whose_file_was_left_behind_begins_anew(tmp_path, capsys):
    path = tmp_path / "best.weights.h5"
    for cut, best in ((7, 1.0), (None, 2.0)):
        path.unlink(missing_ok=True)  # as on another machine
        callbacks = [Worse(), K.ModelCheckpoint(path, "loss", 0, True, True)]
        life(
            tmp_path / "saved", data=lambda: (X, Y), callbacks=callbacks, cut=cut, epochs=2,
            every_steps=1,
        )  # fmt: skip
        assert callbacks[1].best == best and path.exists()
    assert f"to {path} now, where no file is: its best begins anew" in capsys.readouterr().err


def test_an_epoch_whose_steps_are_done_is_named_as_such(tmp_path, capsys):
    def asked(batch, logs=None):
        if batch == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    callbacks = [K.LambdaCallback(on_train_batch_end=asked), Cut(), ResumeTraining(tmp_path)]
    with pytest.raises(Evicted):
        small_model().fit(X, Y, 8, epochs=2, verbose=0, callbacks=callbacks)
    with pytest.raises(ValueError, match="of the end of epoch 1, after all 5 steps and before the"):
        life(tmp_path, data=lambda: (X, Y + 1 - 2 * (Y > 1)), epochs=2)
    life(tmp_path, data=lambda: (X, Y), epochs=2)
    assert "goes on at epoch 1, after the last of its 5 steps." in capsys.readouterr().err


def test_a_rate_within_a_multi_optimizer_is_taken_up(tmp_path, capsys):
    def train(rate, cut):
        as_another_process(1)
        inner = keras.optimizers.SGD(rate, momentum=0.9)
        both = keras.optimizers.OptimizerMap(inner, {".*/bias": keras.optimizers.Adam(0.01)})
        model = small_model(optimizer=keras.optimizers.MultiOptimizer(both))
        callbacks = [Cut(cut), ResumeTraining(tmp_path)]
        with contextlib.suppress(RuntimeError):
            model.fit(X, Y, 8, epochs=2, verbose=0, callbacks=callbacks)
        return [round(float(one.learning_rate), 6) for one in model.optimizer.optimizers]

    train(0.1, 7)
    assert train(0.1, 1) == [0.01, 0.1] and "takes up" not in capsys.readouterr().err
    assert train(0.05, None) == [0.01, 0.05]
    said = capsys.readouterr().err
    assert "takes up what has changed: learning_rate 0.1 → 0.05." in said
