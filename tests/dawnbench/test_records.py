import csv
import json

import keras_dawn
from keras_dawn import SGD, OneCycle, TimeToAccuracy, plots
from keras_dawn.dawnbench import CIFAR10_BOARD
from keras_dawn.dawnbench.records import HistoryWriter, RunFolder, environment
from keras_dawn.dawnbench.time_to_accuracy import EpochRecord

import keras
import numpy as np
import pytest


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "run").mkdir()
    RunFolder(tmp_path / "run")  # empty: fine
    (tmp_path / "run" / "run.json").write_text("old", encoding="utf-8")
    with pytest.raises(FileExistsError, match="nothing in it is overwritten"):
        RunFolder(tmp_path / "run")
    with pytest.raises(FileExistsError):
        RunFolder(tmp_path / "run" / "run.json")
    assert (tmp_path / "run" / "run.json").read_text(encoding="utf-8") == "old"


def test_a_folder_under_the_home_is_not_one_called_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert RunFolder("~/run").path == tmp_path / "run" and (tmp_path / "run").is_dir()


def test_an_unfinished_run_takes_its_folder_again_and_nobody_elses(tmp_path):
    run = {"recipe": "a", "checkpoints": "saved", "seed": 0, "runs": 2}
    folder = RunFolder(tmp_path / "run", run)
    assert not folder.is_taken_again
    first = folder.part("seed0")
    first.write_text("history.csv", "old")
    first.finish()
    folder.part("seed1").write_text("history.csv", "old")
    for other in (None, {**run, "checkpoints": "others"}, {**run, "seed": 1}):
        with pytest.raises(FileExistsError, match="nothing in it is overwritten"):
            RunFolder(tmp_path / "run", other)
    again = RunFolder(tmp_path / "run", run)
    parts = [again.part(f"seed{seed}") for seed in range(3)]
    assert [part.is_taken_again for part in (again, *parts)] == [True, True, True, False]
    assert [part.is_finished for part in (again, *parts)] == [False, True, False, False]
    for part in (*parts, again):
        part.finish()
    assert not list(tmp_path.rglob("unfinished.json"))
    with pytest.raises(FileExistsError):  # a finished one is left alone
        RunFolder(tmp_path / "run", run)
    with pytest.raises(KeyError), RunFolder(tmp_path / "none", run).removed_if_empty() as empty:
        empty.part("seed0")
        raise KeyError
    assert not (tmp_path / "none").exists()


def test_nothing_is_left_of_a_run_that_fails_at_once(tmp_path):
    def fails(path, files):
        folder = RunFolder(path)
        with pytest.raises(KeyError), folder.removed_if_empty():
            inner = RunFolder(folder.path / "seed0")
            for name in files:
                inner.write_text(name, "")
            raise KeyError

    fails(tmp_path / "runs" / "first", [])
    assert not list(tmp_path.iterdir())
    fails(tmp_path / "runs" / "second", ["history.csv"])
    assert (tmp_path / "runs" / "second" / "seed0" / "history.csv").is_file()
    (tmp_path / "mine").mkdir()
    fails(tmp_path / "mine", [])
    assert (tmp_path / "mine").is_dir()  # it was there before
    with RunFolder(tmp_path / "runs" / "third").removed_if_empty() as folder:
        assert folder.path.is_dir()
    assert folder.path.is_dir()


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path / "run")
    folder.write_text("a.txt", "first")

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        folder.write_text("a.txt", "second")
    assert [p.name for p in folder.path.iterdir()] == ["a.txt"]
    assert (folder.path / "a.txt").read_text(encoding="utf-8") == "first"


def test_a_name_that_the_locale_cannot_read_is_written_as_it_is(tmp_path, monkeypatch):
    raw = b"Pr\xc3\xbcfung \xff"
    monkeypatch.setattr("sys.argv", ["a.py", raw.decode("ascii", "surrogateescape")])
    path = RunFolder(tmp_path / "run").write_json("run.json", environment())
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["command"] == ["a.py", "Prüfung \ufffd"]  # the last byte is no letter


def test_history_has_every_column_and_is_there_after_each_epoch(dense_model, points, tmp_path):
    folder = RunFolder(tmp_path)
    lengths = []

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            path = folder.path / "history.csv"
            lengths.append(
                len(path.read_text(encoding="utf-8").splitlines()) if path.exists() else 0
            )

    writer = HistoryWriter(folder)
    history = dense_model(SGD(0.1)).fit(
        *points, epochs=3, validation_data=points, validation_freq=2,
        callbacks=[TimeToAccuracy(99.0), OneCycle(), writer, Watch()], verbose=0,
    ).history  # fmt: skip
    with (tmp_path / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert lengths == [0, 2, 3] and [row["epoch"] for row in rows] == ["1", "2", "3"]
    for name in ("loss", "learning_rate", "momentum", "training_seconds"):
        assert [float(row[name]) for row in rows] == history[name]
    assert rows[0]["val_loss"] == "" and float(rows[1]["val_loss"]) == history["val_loss"][0]


class Shares(keras.metrics.Metric):
    """What is predicted of two classes, as a dict."""

    def __init__(self):
        super().__init__(name="shares")
        self.of = self.add_weight(shape=(3,), initializer="zeros", name="of")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.of.assign(self.of + keras.ops.sum(keras.ops.softmax(y_pred), 0))

    def result(self):
        return {"first": self.of[0], "others": self.of[1:]}


@pytest.mark.parametrize("accelerated", [False, True])
def test_a_metric_of_several_numbers_is_written_as_what_history_holds(
    accelerated, dense_model, points, tmp_path
):
    model = dense_model(SGD(0.1))
    f1 = keras.metrics.F1Score(name="f1")
    model.compile(SGD(0.1), "mse", metrics=[f1, Shares()])
    writer = HistoryWriter(RunFolder(tmp_path))
    name = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: logs.update(stage="warm, up")
    )
    history = (
        (keras_dawn.accelerate(model) if accelerated else model)
        .fit(points[0], np.eye(3)[points[1]], epochs=2, callbacks=[name, writer], verbose=0)
        .history
    )
    with (tmp_path / "history.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, kept, *expected in zip(
        rows, writer.rows, *(history[n] for n in ("f1", "first", "others", "stage")), strict=True
    ):
        for column, value in zip(("f1", "first", "others"), expected, strict=False):
            assert json.loads(row[column]) == kept[column] == np.asarray(value).tolist()
        assert row["stage"] == kept["stage"] == "warm, up"


def test_a_full_disk_does_not_stop_the_training(dense_model, points, tmp_path, monkeypatch):
    writer = HistoryWriter(RunFolder(tmp_path))

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.warns(UserWarning, match="No space left"):
        dense_model(SGD(0.1)).fit(*points, epochs=3, callbacks=[writer], verbose=0)
    assert len(writer.rows) == 3


def test_a_metric_of_each_class_is_a_list_in_the_history(tmp_path):
    writer = HistoryWriter(RunFolder(tmp_path / "run"))
    writer.on_epoch_end(0, {"loss": 2, "f1": np.array([0.25, 0.5], "float32")})
    assert writer.rows == [{"epoch": 1, "loss": 2.0, "f1": [0.25, 0.5]}]
    assert '1,2.0,"[0.25, 0.5]"' in (tmp_path / "run" / "history.csv").read_text(encoding="utf-8")


def test_environment_names_what_limits_onednn(monkeypatch):
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx512_core")
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "bf16")
    assert environment()["onednn"] == {"instructions": "AVX512_CORE", "rounding": "BF16"}


def test_environment_names_versions_and_hardware():
    facts = json.loads(json.dumps(environment()))
    assert facts["versions"]["keras"] == keras.version()
    assert facts["hardware"]["cores"] >= 1 and facts["hardware"]["memory_gib"] > 0


class TestPictures:
    def test_schedule_has_a_panel_for_each_hyper_parameter(self, tmp_path):
        figure = OneCycle(1.5, "dawnbench").plot(epochs=30, path=tmp_path / "s.png")
        rate, momentum = figure.axes
        assert max(rate.lines[0].get_ydata()) == pytest.approx(1.5)
        assert min(momentum.lines[0].get_ydata()) == pytest.approx(0.85, abs=1e-3)
        assert rate.lines[0].get_xdata()[-1] == pytest.approx(30, abs=0.02)
        assert (tmp_path / "s.png").read_bytes().startswith(b"\x89PNG")

    def test_loss_skips_epochs_without_validation(self):
        rows = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "val_loss": 1.5}]
        (axis,) = plots.plot_loss(rows).axes
        assert [list(line.get_xdata()) for line in axis.lines] == [[1, 2], [2]]

    def test_time_to_accuracy_shows_runs_target_and_board(self):
        records = [EpochRecord(0, 100.0, 120.0, 80.0), EpochRecord(1, 200.0, 240.0, 94.5)]
        figure = plots.plot_time_to_accuracy({"ours": records}, 94.0, CIFAR10_BOARD)
        (axis,) = figure.axes
        ours = next(line for line in axis.lines if line.get_label() == "ours")
        assert list(ours.get_xdata()) == [100.0, 200.0]
        text = " ".join(label.get_text() for label in axis.texts)
        assert "target 94 %" in text and "David Page" in text
