"""The CIFAR-10 recipe, killed twice: one valid entry, one clock, all paid time."""

import csv
import json
import signal
from pathlib import Path

from keras_dawn.data.image_set import ImageSet
from keras_dawn.data.transforms import Normalize

import numpy as np
import pytest

from recipe_parts import cifar10 as cifar10_recipe
from tests import processes

RECIPE = Path(__file__).parents[2] / "recipes" / "cifar10_wrn.py"
FLAGS = (
    "--preset=cpu", "--epochs=5", "--batch_size=8", "--precision=float32", "--max_lr=0.02",
    "--checkpoints=saved", "--price_per_hour=3.06", "--price_source=a test", "--author=someone",
)  # fmt: skip


def colours(dataset, data_dir, downloading):
    """Stands for CIFAR-10: five colours, which a network learns in a few steps."""
    random = np.random.default_rng(0)
    labels = np.arange(160) % 5
    pixels = np.stack([labels % 2, labels // 2 % 2, labels // 4], -1)[:, None, None] * 240
    pixels = (pixels + random.integers(0, 5, (160, 32, 32, 3))).astype("uint8")
    parts = (pixels, labels, pixels[:50], labels[:50], tuple(map(str, range(10))))
    return ImageSet("cifar10", "made", *parts, Normalize(0.5, 0.25)), "made here"


def show_colours():
    cifar10_recipe.choose_dataset = colours


def start(folder):
    return processes.start(RECIPE, *FLAGS, "--output_dir=out", cwd=folder, prepare=show_colours)


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    """The folder and the output of the same command after the second kill."""
    folder = tmp_path_factory.mktemp("killed")
    for number in (1, 3):
        saved = folder / "saved" / "seed0" / f"checkpoint-0000{number}-0000000.pt"
        done = start(folder).kill_once_there(saved)
        assert done.returncode == -signal.SIGKILL, done.printed
    done = start(folder).wait()
    assert done.returncode == 0, done.printed
    return folder / "out", done.printed


def test_clock_and_history_are_those_of_all_processes(ended):
    out, printed = ended
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    assert [record["epoch"] for record in document["epochs"]] == [0, 1, 2, 3, 4]
    seconds = [record["training_seconds"] for record in document["epochs"]]
    assert seconds == sorted(seconds) and seconds[0] > 0
    assert document["training_seconds"] >= seconds[-1]
    assert document["paid"]["processes"] == 3
    assert document["paid"]["seconds"] > document["wall_seconds"]
    with (out / "history.csv").open(encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3", "4", "5"]
    assert "in 3 processes" in printed


def test_one_valid_entry_has_the_summed_hours(ended):
    out, _ = ended
    (table,) = out.glob("*.tsv")
    (entry,) = out.glob("someone_*.json")
    assert entry.stem == table.stem
    with table.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    document = json.loads((out / "run.json").read_text(encoding="utf-8"))
    hours = [record["training_seconds"] / 3600 for record in document["epochs"]]
    assert [float(row["hours"]) for row in rows] == pytest.approx(hours, rel=1e-6)
    assert float(rows[-1]["top1Accuracy"]) >= 94
