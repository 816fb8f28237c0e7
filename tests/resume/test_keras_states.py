"""Keras's own callbacks know after a restart what they knew before, and what has ended stays so."""

import csv
import os

from keras_dawn import OneCycle, ResumeTraining, TimeToAccuracy
from keras_dawn.callbacks import ExponentialMovingAverage, Lookahead, StochasticWeightAveraging

import keras
import numpy as np
import pytest

from tests.resume.lives import X, Y, ends_the_same, life, same, small_model
from tests.resume.this_process import ThisProcess, as_another_process

SCORES = [0.9, 0.1, 0.2, 0.3, 0.3, 0.3, 0.3, 0.3]
K = keras.callbacks


class Score(K.Callback):
    def on_epoch_end(self, epoch, logs):
        logs["score"] = SCORES[epoch]


def data():
    return X, Y


def each(*makers):
    return lambda: [make() for make in makers]


def stopping():
    return K.EarlyStopping("score", mode="max", patience=3, restore_best_weights=True)


def plateau():
    return K.ReduceLROnPlateau("score", mode="max", patience=2, cooldown=1, factor=0.5)


def rates():
    return K.LearningRateScheduler(lambda epoch, rate: rate * 0.7)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("cuts", [(8, 7), (16,)])
@pytest.mark.parametrize("make", [stopping, plateau, rates, OneCycle])
def test_the_next_life_ends_as_an_unbroken_one(make, cuts, first, tmp_path):
    callbacks = each(make, Score) if first and make is not plateau else each(Score, make)
    if make is stopping:
        callbacks = each(Score, make)
    ends_the_same(tmp_path, cuts, data=data, callbacks=callbacks, epochs=7)


def test_the_best_file_is_not_overwritten_by_a_worse_one(tmp_path):
    place = str(tmp_path / "best.weights.h5")

    def best():
        return K.ModelCheckpoint(
            place, "score", mode="max", save_best_only=True, save_weights_only=True
        )

    life(tmp_path / "cut", data=data, callbacks=each(Score, best), cut=12)
    kept = (tmp_path / "best.weights.h5").read_bytes()
    again = best()
    life(tmp_path / "cut", data=data, callbacks=[Score(), again])
    assert (tmp_path / "best.weights.h5").read_bytes() == kept and again.best == 0.9


def test_a_best_model_is_on_the_disk_before_the_checkpoint_that_knows_of_it(tmp_path, monkeypatch):
    seen, real = [], (os.fsync, os.replace)

    def fsync(descriptor):
        seen.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        real[0](descriptor)

    def replace(before, after):
        seen.append(os.path.basename(after))
        real[1](before, after)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    best = K.ModelCheckpoint(tmp_path / "best-{epoch:02d}.weights.h5", save_weights_only=True)
    life(tmp_path / "checkpoints", data=data, callbacks=[best], every_steps=None, epochs=2)
    files = [name for name in seen if name.startswith(("best", "checkpoint-"))]
    assert files == [
        "best-01.weights.h5", "checkpoint-00001-0000000.pt",
        "best-02.weights.h5", "checkpoint-00002-0000000.pt",
    ]  # fmt: skip


@pytest.mark.parametrize("append", [True, False])
def test_rows_of_a_csv_file_are_neither_lost_nor_doubled(append, tmp_path):
    def rows_of(name, cuts):
        place = tmp_path / f"{name}.csv"
        for cut in (*cuts, None):
            logger = K.CSVLogger(str(place), append=append)
            life(tmp_path / name, data=data, callbacks=[logger], cut=cut, every_steps=None)
            logger.on_train_end()  # of a life that was cut off: closes the file
        return place.read_bytes()

    whole = rows_of("whole", ())
    assert rows_of("cut", (13, 4)) == whole
    assert [row[0] for row in csv.reader(whole.decode().splitlines())][1:] == list("0123")


class EndsEarly(ThisProcess):
    """Ends the process with an epoch, before that is saved."""

    def on_epoch_end(self, epoch, logs=None):
        raise RuntimeError("cut off")


def test_rows_of_an_epoch_that_was_never_saved_are_not_doubled(tmp_path):
    def rows_of(name, lives):
        place = tmp_path / f"{name}.csv"
        place.write_text("epoch,accuracy,loss\n0,0.5,0.5\n", encoding="utf-8")  # another training's
        for number in range(lives):
            logger = K.CSVLogger(str(place), append=True)
            ends = [EndsEarly()] * (number + 1 < lives)
            life(tmp_path / name, data=data, callbacks=[logger, *ends], every_steps=None)
            logger.on_train_end()
        return place.read_bytes()

    whole = rows_of("whole", 1)
    assert rows_of("cut", 3) == whole and whole.count(b"\n") == 6


OTHERS = b"0,0.5,1.5,NA,NA\r\n1,0.75,1.25,NA,NA\r\n"


def log_rows(folder, place, cut=None):
    logger = K.CSVLogger(str(place), append=True)
    life(folder, data=data, callbacks=[logger], cut=cut, every_steps=None)
    logger.on_train_end()


@pytest.mark.parametrize("cut", [2, 13, None])
def test_rows_that_another_training_has_appended_stay(cut, tmp_path, capsys):
    place = tmp_path / "log.csv"
    log_rows(tmp_path / "ours", place, cut)
    with place.open("ab") as file:
        file.write(OTHERS)
    both = place.read_bytes()
    log_rows(tmp_path / "ours", place)
    rows = place.read_bytes()
    assert rows.startswith(both) and (rows == both) == (cut is None)
    said = "log.csv holds rows that this training has not written" in capsys.readouterr().err
    assert said == (cut is not None)


def test_a_file_of_other_rows_is_not_replaced_by_the_checkpoints(tmp_path):
    log_rows(tmp_path / "ours", tmp_path / "log.csv", cut=13)
    place = tmp_path / "other.csv"
    place.write_bytes(b"epoch,loss\r\n" + OTHERS)
    log_rows(tmp_path / "ours", place)
    assert place.read_bytes().startswith(b"epoch,loss\r\n" + OTHERS)


def test_rows_of_several_epochs_that_come_back_are_removed(tmp_path):
    places = [tmp_path / "whole.csv", tmp_path / "cut.csv"]
    for place, cut in zip(places, (None, 19), strict=True):
        log_rows(tmp_path / place.stem, place, cut)
    (newest,) = tmp_path.glob("cut/checkpoint-00003*.pt")
    newest.unlink()
    with places[1].open("ab") as file:
        file.write(b"3")  # of a row that was being written
    log_rows(tmp_path / "cut", places[1])
    assert places[0].read_bytes() == places[1].read_bytes()


@pytest.mark.parametrize("swap", [True, False])
def test_weights_that_were_swapped_for_their_average_are_swapped_back(swap, tmp_path):
    def run(folder, cut=None):
        keras.utils.set_random_seed(1)
        optimizer = keras.optimizers.SGD(0.1, momentum=0.9, use_ema=True, ema_momentum=0.9)
        model = small_model(optimizer=optimizer)
        from tests.resume.test_resume import Cut

        callbacks = [K.SwapEMAWeights(swap_on_epoch=swap), Cut(cut), ResumeTraining(folder)]
        try:
            model.fit(X, Y, 8, epochs=4, verbose=0, validation_data=(X, Y), callbacks=callbacks)
        except RuntimeError:
            assert cut is not None
        return model

    whole = run(tmp_path / "whole")
    run(tmp_path / "cut", 12)
    same(run(tmp_path / "cut"), whole)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    "make",
    [
        lambda: ExponentialMovingAverage(0.9),
        lambda: Lookahead(3),
        lambda: StochasticWeightAveraging((X, Y), start=0.5),
    ],
)
def test_averages_go_on_wherever_resumption_stands_in_the_list(make, first, tmp_path):
    def run(folder, cut=None):
        from tests.resume.test_resume import Cut

        keras.utils.set_random_seed(1)
        model, resume = small_model(), ResumeTraining(folder, every_steps=2)
        callbacks = [resume, make(), Cut(cut)] if first else [make(), Cut(cut), resume]
        try:
            model.fit(X, Y, 8, epochs=4, verbose=0, validation_data=(X, Y), callbacks=callbacks)
        except RuntimeError:
            assert cut is not None
        return model

    whole = run(tmp_path / "whole")
    for cut in (8, 5):
        run(tmp_path / "cut", cut)
    same(run(tmp_path / "cut"), whole)


def target():
    return TimeToAccuracy(1.0, monitor="accuracy", stop_at_target=True)


@pytest.mark.parametrize("make", [target, lambda: K.EarlyStopping("loss", min_delta=9, patience=1)])
def test_a_training_that_was_stopped_does_not_train_on(make, tmp_path, capsys):
    first = life(tmp_path, data=data, callbacks=each(make))
    epochs = len(first.history.epoch)
    assert epochs < 4
    for _ in range(2):
        again = life(tmp_path, data=data, callbacks=each(make), seed=7)
        for a, b in zip(again.get_weights(), first.get_weights(), strict=True):
            assert np.array_equal(a, b)
        assert again.history.history["loss"] == first.history.history["loss"]
        assert again.stop_training
    assert "already complete: nothing trained" in capsys.readouterr().err


def test_a_training_that_ended_with_its_last_epoch_goes_on_where_there_are_more(tmp_path):
    whole = life(tmp_path / "whole", data=data, epochs=5)
    life(tmp_path / "more", data=data, epochs=3)
    same(life(tmp_path / "more", data=data, epochs=5, seed=9), whole)


@pytest.mark.parametrize("cut", [8, 12, 14, 20, None])
def test_two_fits_are_one_training(cut, tmp_path, capsys):
    from tests.resume.test_resume import Cut

    def run(folder, cut, seed=1):
        as_another_process(seed)
        model, resume, stop = small_model(), ResumeTraining(folder, every_steps=2), Cut(cut)
        try:
            model.fit(X, Y, 8, epochs=2, verbose=0, callbacks=[stop, resume])
            between = model.get_weights()
            hard = np.argsort(model.predict(X, verbose=0).max(-1))[:24]
            model.fit(
                X[hard], Y[hard], 8, epochs=6, initial_epoch=2, verbose=0, callbacks=[stop, resume]
            )
        except RuntimeError:
            return None
        return model, between

    whole, between = run(tmp_path / "whole", None)
    said = "the fit before has ended; this one is fit 2 of the training in this folder."
    assert said in capsys.readouterr().err
    run(tmp_path / "cut", cut)
    ours, ours_between = run(tmp_path / "cut", None, seed=9)
    for a, b in zip(ours_between, between, strict=True):
        assert np.array_equal(a, b)
    for a, b in zip(ours.get_weights(), whole.get_weights(), strict=True):
        assert np.array_equal(a, b)


def test_layers_that_were_frozen_stay_frozen(tmp_path):
    class Freeze(K.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.layers[0].trainable = False

    ends_the_same(tmp_path, (12, 6), data=data, callbacks=each(Freeze))


def test_backup_and_restore_beside_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match="BackupAndRestore and ResumeTraining would both restore"):
        life(tmp_path, data=data, callbacks=[K.BackupAndRestore(tmp_path / "b")])


def test_a_nan_that_another_callback_ends_the_training_for_ends_it_quietly(tmp_path, capsys):
    class Spoil(K.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                self.model.layers[0].kernel.assign(np.full((6, 4), np.nan))

    model = life(tmp_path, data=data, callbacks=[Spoil(), K.TerminateOnNaN()], every_steps=None)
    assert model.history.epoch == [0, 1, 2]
    assert "checkpoint-00002-0000000.pt is the last good one" in capsys.readouterr().err


def test_it_says_where_it_goes_on(tmp_path, capsys):
    life(tmp_path, data=data, cut=8)
    assert "goes on" not in capsys.readouterr().err
    life(tmp_path, data=data)
    assert "goes on at epoch 2, step 3 of 5." in capsys.readouterr().err
