"""The record recipe, of two fits, killed in each of them and started again when it had ended."""

import json
import signal
from pathlib import Path

import pytest
import torch

from tests import processes

RECIPE = Path(__file__).parents[2] / "recipes" / "cifar10_record.py"
FLAGS = "--preset=smoke", "--dataset=digits", "--target=20", "--checkpoint_steps=3"


@pytest.mark.slow
def test_it_ends_as_an_unbroken_one_and_a_finished_one_has_its_record(tmp_path):
    def start(name, output):
        flags = [*FLAGS, f"--checkpoints={name}", f"--output_dir={output}"]
        return processes.start(RECIPE, *flags, cwd=tmp_path)

    def ended(name, output):
        done = start(name, output).wait()
        assert done.returncode == 0, done.printed
        (run,) = (tmp_path / output).rglob("run.json")
        return json.loads(run.read_text(encoding="utf-8")), done.printed

    def weights(name):
        last = sorted((tmp_path / name / "seed0").glob("*.pt"))[-1]
        return torch.load(last, weights_only=True)["variables"]

    whole, _ = ended("whole", "whole_out")
    for file in ("checkpoint-00000-0000003.pt", "checkpoint-f001-00001-0000003.pt"):
        done = start("cut", f"killed_at_{file}").kill_once_there(tmp_path / "cut" / "seed0" / file)
        assert done.returncode == -signal.SIGKILL, done.printed
    cut, printed = ended("cut", "cut_out")
    assert "goes on at epoch 2" in printed
    again, printed = ended("cut", "again_out")
    assert "already complete: nothing trained" in printed
    for document in (cut, again):
        assert document["clocks"]["training"] is document["clocks"]["process"] is None
        assert document["test_accuracy"] == whole["test_accuracy"]
        assert document["accuracy_without_views"] == whole["accuracy_without_views"]
        assert [each["epoch"] for each in document["epochs"]] == [1]
    assert all(torch.equal(a, b) for a, b in zip(weights("cut"), weights("whole"), strict=True))
    for output in ("cut_out", "again_out"):
        (rows,) = (tmp_path / output).rglob("history.csv")
        assert len(rows.read_text(encoding="utf-8").splitlines()) == 3
