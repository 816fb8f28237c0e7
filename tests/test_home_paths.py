"""Paths that begin with `~` are in the user's home, and no folder of that name comes about."""

import json

import keras_dawn
from keras_dawn import plots
from keras_dawn.convolutions import table_named
from keras_dawn.data.photos import ImageFolder, PhotoTable, PreparedImages, photos_of, prepare
from keras_dawn.dawnbench.validation import validate_entry
from keras_dawn.plots.report import report

import keras
import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home with two photos; the script runs elsewhere."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    for label in ("cat", "dog"):
        folder = tmp_path / "home/photos/train" / label
        folder.mkdir(parents=True)
        Image.new("RGB", (16, 16)).save(folder / "one.jpg")
    yield tmp_path / "home"
    assert not list(here.iterdir())


def test_checkpoints(home):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    keep = keras_dawn.ResumeTraining("~/saved", data=None)
    model.fit(np.zeros((4, 2)), np.zeros(4), verbose=0, callbacks=[keep])
    assert list((home / "saved").glob("*.pt"))


def test_photos_and_copies_of_them(home):
    assert len(ImageFolder("~/photos/train")) == len(photos_of("~/photos", "train")) == 2
    prepare(photos_of("~/photos", "train"), "~/copies", 16)
    assert len(PreparedImages("~/copies")) == 2
    (home / "labels.csv").write_text("file,label\ncat/one.jpg,a\ndog/one.jpg,b\n", encoding="utf-8")
    assert len(PhotoTable("~/labels.csv", "~/photos/train", path="file")) == 2


def test_a_table_of_ways_an_entry_a_run_and_pictures(home):
    (home / "mine.json").write_text(json.dumps({"name": "mine", "rules": []}), encoding="utf-8")
    assert table_named("~/mine.json").name == "mine"
    (home / "entry_x.json").write_text("{}", encoding="utf-8")
    assert any("entry_x.tsv" in check.message for check in validate_entry("~/entry_x.json"))
    (home / "run").mkdir()
    (home / "run/history.csv").write_text("epoch,loss\n1,0.5\n2,0.4\n", encoding="utf-8")
    plots.plot_loss([{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.4}], "~/curves.png")
    report(["~/run"], "~/report.html")
    assert (home / "curves.png").is_file() and (home / "report.html").is_file()
