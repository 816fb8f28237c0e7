"""A second training of one process in the folder of a first one, and how often is saved."""

import types

from keras_dawn import ResumeTraining
from keras_dawn.resume import last_word
from keras_dawn.resume.checkpoints import CheckpointFolder

import keras
import pytest

from tests.resume.lives import X, Y, life, same, small_model
from tests.resume.test_resume import Cut


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
    with pytest.raises(ValueError, match="is complete.* this one has other settings"):
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
    assert complete.endswith("nothing trained; the weights are those of the end of epoch 4.")
    assert beyond.endswith("of the end of epoch 4, beyond the 2 that this fit was asked for.")
    cut = ResumeTraining(tmp_path / "cut", every_steps=2)
    with pytest.raises(RuntimeError, match="cut off"):
        train(tmp_path / "cut", epochs=4, cut=8, resume=cut)
    train(tmp_path / "cut", epochs=1)
    said = capsys.readouterr().err
    assert "of epoch 2 after step 2, beyond the 1 that this fit was asked for." in said


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
