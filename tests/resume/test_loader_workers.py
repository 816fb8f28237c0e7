"""A signal to the whole group of processes, while workers of a loader make the next batch."""

import os
import subprocess
import sys

import keras_dawn
from keras_dawn import Phase, ResumeTraining, fit_plan

import keras
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from tests.processes import run_ranks
from tests.resume.lives import X, Y, small_model
from tests.resume.this_process import ThisProcess


class Rows(Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, place):
        return torch.tensor(X[place]) + torch.rand(6), int(Y[place])


class Told(ThisProcess):
    """Has another process send SIGTERM to this one, and to the workers that it has."""

    def __init__(self, moment):
        super().__init__()
        self.moment, self.steps = moment, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.steps += 1
        self._tell(f"step {self.steps}")

    def on_test_batch_begin(self, batch, logs=None):
        self._tell(f"validation {self.steps}")

    def _tell(self, now):
        if now == self.moment:
            self.moment = None
            subprocess.run(["sh", "-c", f"kill -TERM -{os.getpgid(0)}"], check=False)


def main(folder, out, moment, planned=False):
    os.setpgid(0, 0)
    ranks = keras_dawn.distribute()
    keras.utils.set_random_seed(1)
    rows, sampler = Rows(), None
    if ranks.several:
        sampler = DistributedSampler(rows, shuffle=True)
    train = DataLoader(rows, 8 // ranks.world_size, sampler=sampler, num_workers=2)
    validation = DataLoader(rows, 8, num_workers=1)
    model = small_model()
    fit = {"verbose": 0, "callbacks": [Told(moment), ResumeTraining(folder)]}
    if not ranks.several:
        fit["validation_data"] = validation
    if planned:
        fit_plan(model, Phase(3, 8, 8, 0.1), lambda phase: train, **fit)
    else:
        model.fit(train, epochs=3, shuffle=False, **fit)
    torch.save([v.value.detach() for v in model.variables], f"{out}-{ranks.rank}")


def life(*arguments):
    """A process of its own with a group of its own, a fresh interpreter."""
    script = f"from tests.resume.test_loader_workers import main; main(*{list(arguments)!r})"
    return subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        encoding="utf-8",
        timeout=100,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "planned"), [("step 8", False), ("validation 5", False), ("step 8", True)]
)
def test_it_saves_ends_with_75_and_goes_on(moment, planned, tmp_path):
    for name, told in (("whole", None), ("cut", moment), ("cut", None)):
        done = life(str(tmp_path / name), str(tmp_path / f"{name}.pt"), told, planned)
        assert done.returncode == (75 if told else 0), done.stderr
        if told:
            assert "The same command goes on from there" in done.stderr
    whole, cut = (torch.load(tmp_path / f"{name}.pt-0") for name in ("whole", "cut"))
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))


@pytest.mark.slow
def test_two_ranks_save_at_the_same_step_end_with_75_and_go_on(tmp_path):
    def job(name, told):
        return run_ranks(2, main, str(tmp_path / name), str(tmp_path / f"{name}.pt"), told)

    assert job("whole", None).returncodes == [0, 0]
    done = job("cut", "step 8")
    assert done.returncodes == [75, 75], done.printed
    assert done.printed.count("The same command goes on from there") == 1
    assert job("cut", None).returncodes == [0, 0]
    for rank in (0, 1):
        whole, cut = (torch.load(tmp_path / f"{name}.pt-{rank}") for name in ("whole", "cut"))
        assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))
