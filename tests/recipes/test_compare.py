import json
from pathlib import Path

import pytest

from tests import processes

RECIPE = Path(__file__).parents[2] / "recipes" / "compare.py"
SMALL = ("--dataset=digits", "--train_images=256", "--test_images=100", "--epochs=2",
         "--schedules=constant,SGDR,one-cycle")  # fmt: skip


def run(folder, *flags):
    return processes.run(RECIPE, *SMALL, f"--output_dir={folder}", *flags, cwd=folder.parent)


def test_every_schedule_is_trained_with_every_seed_and_the_table_is_their_mean(tmp_path):
    done = run(tmp_path / "run", "--seeds=2")
    assert done.returncode == 0, done.printed
    found = json.loads((tmp_path / "run" / "compare.json").read_text(encoding="utf-8"))
    assert {n: [len(s) for s in seeds] for n, seeds in found["accuracy_by_epoch"].items()} == {
        name: [2, 2] for name in ("constant", "SGDR", "one-cycle")
    }
    for name, seeds in found["accuracy_by_epoch"].items():
        mean = sum(seed[-1] for seed in seeds) / 2
        assert found["final"][name]["mean"] == pytest.approx(mean)
        assert f"{mean:.2f} %" in done.printed
    assert (tmp_path / "run" / "compare.png").stat().st_size > 10000


def test_tuning_tries_each_rate(tmp_path):
    done = run(tmp_path / "run", "--tune=0.05,0.2", "--schedules=constant")
    assert done.returncode == 0, done.printed
    found = json.loads((tmp_path / "run" / "tune.json").read_text(encoding="utf-8"))
    assert list(found["accuracy_by_rate"]["constant"]) == ["0.05", "0.2"]


def test_an_unknown_network_or_schedule_ends_before_training(tmp_path):
    done = run(tmp_path / "run", "--model=resnet")
    assert "--model must be wrn-DEPTH-WIDTH; got 'resnet'" in done.printed
    assert done.returncode == 1 and not (tmp_path / "run").exists()
    done = run(tmp_path / "run", "--schedules=triangle")
    assert done.returncode == 1
    assert "--schedules knows constant" in done.printed
