"""What callbacks write into the logs comes back, of whichever kind it is."""

import contextlib
import datetime
import pathlib

from keras_dawn import ResumeTraining

import keras
import numpy as np
import pytest

from tests.resume.lives import X, Y, life
from tests.resume.test_resume import Cut


class Writes(keras.callbacks.Callback):
    """Writes values of a kind into the logs of every epoch."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def on_epoch_end(self, epoch, logs=None):
        logs["written"] = self.make(self.model, epoch)


ALL = {
    "bytes": lambda model, epoch: b"x" * epoch,
    "numbers of NumPy's": lambda model, epoch: {"a": np.float32(epoch), "b": [np.int64(2)]},
    "times": lambda model, epoch: [datetime.timedelta(epoch), datetime.date(2020, 1, 1 + epoch)],
    "paths and sets": lambda model, epoch: (pathlib.Path(str(epoch)), {epoch}),
}


def written(folder, make, cut=None):
    model = life(folder, data=lambda: (X, Y), callbacks=[Writes(make)], cut=cut, every_steps=None)
    return model.history.history["written"]


def test_values_of_all_kinds_come_back(tmp_path):
    def make(model, epoch):
        return {kind: of_kind(model, epoch) for kind, of_kind in ALL.items()}

    whole = written(tmp_path / "whole", make)
    written(tmp_path / "cut", make, cut=7)
    assert repr(written(tmp_path / "cut", make)) == repr(whole)


def test_arrays_come_back(tmp_path):
    for cut in (7, None):
        found = written(tmp_path, lambda model, epoch: np.full(2, epoch), cut)
    np.testing.assert_array_equal(found, [[0, 0], [1, 1], [2, 2], [3, 3]])


def test_metrics_that_keras_numbers_anew_go_on_in_their_columns(tmp_path, capsys):
    folders, found = [tmp_path / "whole", tmp_path / "cut"], []
    rows = [np.eye(3)[Y], (X, np.eye(3)[Y])]
    for folder, cuts in zip(folders, ((None,), (7, None)), strict=True):
        for cut in cuts:
            keras.utils.set_random_seed(1)
            model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3)])
            metrics = [keras.metrics.AUC(), keras.metrics.Precision()]
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            model.compile("sgd", loss, metrics=metrics)
            log = keras.callbacks.CSVLogger(f"{folder}.csv")
            callbacks = [log, Cut(cut), ResumeTraining(folder)]
            with contextlib.suppress(RuntimeError):
                model.fit(
                    X, rows[0], 8, epochs=3, verbose=0, validation_data=rows[1],
                    callbacks=callbacks,
                )  # fmt: skip
            log.on_train_end()
        found.append((model.history.history, pathlib.Path(f"{folder}.csv").read_bytes()))
    (whole, text), (again, other_text) = found
    assert [*whole.values()] == [*again.values()] and len(whole) == 6
    assert text.splitlines()[1:] == other_text.splitlines()[1:]
    assert "go on under other names: auc" in capsys.readouterr().err


def test_a_variable_is_kept_as_the_number_that_it_was(tmp_path):
    def rate(model, epoch):
        model.optimizer.learning_rate = 0.5**epoch
        return model.optimizer.learning_rate

    for cut in (12, None):
        found = written(tmp_path, rate, cut)
    assert found == [1, 0.5, 0.25, 0.125]


def test_what_no_checkpoint_can_hold_is_refused_by_its_name(tmp_path):
    with pytest.raises(TypeError, match="logs hold a object as 'written'"):
        written(tmp_path, lambda model, epoch: object())
