"""A second training of one process in the folder of a first one, and how often is saved."""

import types

from keras_dawn import ResumeTraining
from keras_dawn.resume import last_word
from keras_dawn.resume.checkpoints import CheckpointFolder

import keras
import pytest

from tests.resume.lives import X, Y, life, same, small_model
from tests.resume.test_resume import Cut
from tests.resume.this_process import as_another_process


def train(folder, *, seed=None, rate=0.1, epochs=2, cut=None, resume=None):
    if seed is not None:
        keras.utils.set_random_seed(seed)
    model = small_model(optimizer=keras.optimizers.SGD(rate))
    callbacks = [Cut(cut), resume or ResumeTraining(folder)]
    model.fit(X, Y, 8, epochs=epochs, verbose=0, callbacks=callbacks)
    return model


def test_a_loop_over_seeds_or_settings_with_one_folder_is_refused(tmp_path):
    train(tmp_path, seed=1)
    with pytest.raises(ValueError, match="its random seed was 1, that of this one is 2"):
        train(tmp_path, seed=2)
    with pytest.raises(ValueError, match=r"is complete.* settings \(learning_rate 0.1 → 0.2\)"):
        train(tmp_path, seed=1, rate=0.2)


def test_a_cell_that_is_run_again_goes_on(tmp_path, capsys):
    first = train(tmp_path / "cut", seed=1)
    same(train(tmp_path / "cut", seed=1), first)
    assert "already complete" in capsys.readouterr().err
    more = train(tmp_path / "cut", seed=2, epochs=3)  # there is something left to train
    assert "takes up what has changed: epochs 2 → 3." in capsys.readouterr().err
    same(more, train(tmp_path / "whole", seed=1, epochs=3))


def test_a_further_seed_is_refused_after_two_fits_of_different_lengths_too(tmp_path):
    resume = ResumeTraining(tmp_path)
    for epochs in (2, 3):
        train(tmp_path, seed=1, epochs=epochs, resume=resume)
    with pytest.raises(ValueError, match="its random seed was 1, that of this one is 7"):
        train(tmp_path, seed=7, epochs=3)


def test_a_script_that_seeds_every_fit_is_no_other_training_when_it_is_run_again(tmp_path, capsys):
    for _ in range(2):
        resume = ResumeTraining(tmp_path)
        for seed, epochs in ((1, 2), (5, 3)):
            model = train(tmp_path, seed=seed, epochs=epochs, resume=resume)
    said = capsys.readouterr().err
    assert said.count("already complete") == 2 and "the end of epoch 2" in said
    assert len(model.history.epoch) == 3


def test_with_nothing_to_train_it_says_of_which_epoch_the_weights_are(tmp_path, capsys):
    train(tmp_path, seed=1, epochs=4)
    train(tmp_path, epochs=4)
    train(tmp_path, epochs=2)
    complete, beyond = capsys.readouterr().err.splitlines()
    as_another_process(1)
    train(tmp_path, epochs=4, rate=0.5)
    changed = capsys.readouterr().err.splitlines()[-1]
    assert complete.endswith("nothing trained; the weights are those of the end of epoch 4.")
    assert beyond.endswith("of the end of epoch 4, beyond the 2 that this fit was asked for.")
    assert changed.endswith(
        "not taken up, as nothing is left to train: learning_rate 0.1 → 0.5. To train with it, ask "
        "for more than 4 epochs, or give another folder."
    )
    cut = ResumeTraining(tmp_path / "cut", every_steps=2)
    with pytest.raises(RuntimeError, match="cut off"):
        train(tmp_path / "cut", epochs=4, cut=8, resume=cut)
    train(tmp_path / "cut", epochs=1)
    said = capsys.readouterr().err
    assert "of epoch 2 after step 2, beyond the 1 that this fit was asked for." in said


class Rising(keras.callbacks.Callback):
    """Gives the loss of epochs as if the second had been the best."""

    def on_epoch_end(self, epoch, logs=None):
        logs["loss"] = abs(epoch - 1.0)


def test_a_training_that_early_stopping_has_ended_says_so_and_how_to_go_on(tmp_path, capsys):
    best = []

    def stopped(patience, epochs=9):
        model = small_model()
        stop = keras.callbacks.EarlyStopping("loss", patience=patience, restore_best_weights=True)
        callbacks = [Rising(), stop, ResumeTraining(tmp_path)]
        model.fit(X, Y, 8, epochs=epochs, verbose=0, callbacks=callbacks)
        best.append(model.get_weights())
        return capsys.readouterr().err, len(model.history.epoch)

    stop = stopped(2), stopped(2), stopped(6, epochs=12)
    assert [trained for _, trained in stop] == [4, 4, 4]
    assert all((a == b).all() for weights in best for a, b in zip(weights, best[0], strict=True))
    ended = (
        "already complete: nothing trained; the weights are those of the end of epoch 2, the best, "
        "by EarlyStopping; EarlyStopping ended the training after epoch 4."
    )
    changed = (
        "not taken up, as nothing is left to train: epochs 9 → 12, patience of EarlyStopping 2 → "
        "6. To train with it, delete checkpoint-00004-0000000.pt, to go on from "
        "checkpoint-00003-0000000.pt, or give another folder."
    )
    assert stop[1][0].endswith(f"{ended}\n") and "not taken up" not in stop[1][0]
    assert ended in stop[2][0] and changed in stop[2][0]
    (tmp_path / "checkpoint-00004-0000000.pt").unlink()
    said, trained = stopped(6, epochs=12)
    assert "goes on at epoch 4, step 1 of 5" in said and trained == 8  # six after the best


def test_two_in_one_fit_with_one_folder_are_refused(tmp_path):
    callbacks = [ResumeTraining(tmp_path), ResumeTraining(tmp_path / "x" / "..")]
    with pytest.raises(ValueError, match="Two ResumeTraining in one `fit`"):
        small_model().fit(X, Y, 8, verbose=0, callbacks=callbacks)


def test_writes_that_take_longer_than_the_interval_do_not_follow_one_another(tmp_path, monkeypatch):
    now, saved = [0.0], []

    def write(folder, place, state):
        saved.append(place)
        now[0] += 0.3

    monkeypatch.setattr(last_word, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(CheckpointFolder, "write", write)

    class Steps(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            now[0] += 0.05

    resume = ResumeTraining(tmp_path, every_seconds=0.2)
    small_model().fit(X, Y, 2, epochs=1, verbose=0, callbacks=[Steps(), resume])
    steps = -(-len(X) // 2)
    assert len(saved) <= steps // 4 + 1


def test_a_folder_that_a_thread_writes_to_is_not_asked_again(tmp_path):
    life(tmp_path, data=lambda: (X, Y), epochs=1)
    folder = CheckpointFolder(tmp_path, 2)
    assert not folder.is_writing() and folder.written_at == 0
    folder._writing = types.SimpleNamespace(done=lambda: False)
    assert folder.is_writing()
