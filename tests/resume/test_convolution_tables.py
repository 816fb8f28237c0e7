"""Trainings whose convolutions go several ways: cut off, on two ranks, with another table."""

import json

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.convolutions import table_in_use, use_table
from keras_dawn.dawnbench.records import environment
from keras_dawn.resume import description

import keras
import numpy as np
import pytest
import torch

from tests.processes import run_ranks

RULES = [
    {"stage": stage, "precision": "float32", "way": way, "bounds": {"pixels": [None, most]}}
    for stage, way, most in (
        ("forward", "windows", 36),
        ("forward", "beside 8", None),
        ("to_input", "windows", 36),
        ("to_weight", "transposed", None),
    )
]


class Growing(keras.utils.PyDataset):
    """Images of 6 pixels a side in the first two epochs, of 10 from then on."""

    def __init__(self):
        super().__init__()
        self.epoch = 0

    def __len__(self):
        return 3

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __getitem__(self, number):
        random = np.random.default_rng((self.epoch, number))
        size = 6 if self.epoch < 2 else 10
        x = random.normal(size=(8, size, size, 3)).astype("float32")
        return x, random.integers(0, 3, 8)


class Cut(keras.callbacks.Callback):
    """Ends the process, as far as the training can tell, when this epoch begins."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise RuntimeError("cut off")


@pytest.fixture
def table(tmp_path):
    """The path of a table of several ways, which is used until the test ends."""
    path = tmp_path / "table.json"
    path.write_text(json.dumps({"name": "mine", "rules": RULES}), encoding="utf-8")
    use_table(str(path))
    yield str(path)
    use_table()


def build():
    model = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(32, 3, padding="same"),
            keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="convolution"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(3),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras_dawn.SGD(0.1, momentum=0.9), loss)
    return keras_dawn.accelerate(model)


def life(folder, *callbacks, seed=0):
    keras.utils.set_random_seed(seed)
    model = build()
    callbacks = [*callbacks, ResumeTraining(folder)]
    model.fit(Growing(), epochs=4, shuffle=False, verbose=0, callbacks=callbacks)
    return model


def test_a_run_cut_off_between_two_sizes_ends_with_the_same_bits(tmp_path, table):
    whole = life(tmp_path / "whole")
    assert "beside 8" in keras_dawn.explain(whole).convolutions["convolution"]
    with pytest.raises(RuntimeError, match="cut off"):
        life(tmp_path / "cut", Cut())
    again = life(tmp_path / "cut", seed=9)
    for one, other in zip(again.variables, whole.variables, strict=True):
        assert torch.equal(one.value, other.value), one.path


def test_another_table_is_said(tmp_path, table, capsys):
    with pytest.raises(RuntimeError, match="cut off"):
        life(tmp_path / "cut", Cut())
    before = table_in_use().identity
    use_table("torch")
    life(tmp_path / "cut")
    said = f"takes up what has changed: ways of convolutions {before} → torch"
    assert said in capsys.readouterr().err


def test_another_number_of_threads_is_said(tmp_path, capsys):
    threads = torch.get_num_threads()
    with pytest.raises(RuntimeError, match="cut off"):
        life(tmp_path / "cut", Cut())
    try:
        torch.set_num_threads(threads + 1)
        life(tmp_path / "cut")
    finally:
        torch.set_num_threads(threads)
    said = f"takes up what has changed: torch's threads {threads} → {threads + 1}"
    assert said in capsys.readouterr().err


def test_the_same_table_is_not_mentioned(tmp_path, table, capsys):
    with pytest.raises(RuntimeError, match="cut off"):
        life(tmp_path / "cut", Cut())
    life(tmp_path / "cut")
    error = capsys.readouterr().err
    assert "ways of convolutions" not in error and "threads" not in error


def test_a_table_that_a_gpu_has_no_use_for_is_not_mentioned(tmp_path, table, capsys, monkeypatch):
    monkeypatch.setattr(description, "default_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a GPU")
    with pytest.raises(RuntimeError, match="cut off"):
        life(tmp_path / "cut", Cut())
    use_table("torch")
    life(tmp_path / "cut")
    assert "ways of convolutions" not in capsys.readouterr().err


def test_run_folders_name_the_table(table):
    assert environment()["convolutions"] == table_in_use().identity
    assert table_in_use().identity.startswith("mine ")


def train_on_a_rank(path):
    torch.set_num_threads(1)
    ranks = keras_dawn.distribute()
    use_table(path)
    keras.utils.set_random_seed(ranks.rank)
    model = build()
    data = Growing()
    images = np.concatenate([data[number][0] for number in range(2)])
    targets = np.concatenate([data[number][1] for number in range(2)])
    model.fit(images, targets, batch_size=16, epochs=2, verbose=0)
    ways = keras_dawn.explain(model).convolutions["convolution"]
    weights = sum(float(one.value.double().sum()) for one in model.variables)
    print(f"\nrank {ranks.rank} | {ways} | {weights:.17g}", flush=True)


def test_two_ranks_go_the_same_ways(table):
    done = run_ranks(2, train_on_a_rank, table)
    assert done.returncodes == [0, 0], done.printed
    lines = [line.split(" | ") for line in done.printed.splitlines() if line.startswith("rank ")]
    assert sorted(line[0] for line in lines) == ["rank 0", "rank 1"]
    assert lines[0][1:] == lines[1][1:] and "windows" in lines[0][1]
