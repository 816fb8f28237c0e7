"""Two processes of which one is killed or asked to stop."""

import os
from unittest import mock

import keras_dawn
from keras_dawn import ResumeTraining
from keras_dawn.resume import shared_folder

import pytest
import torch

from tests.processes import run_ranks, torchrun
from tests.resume import interrupted
from tests.resume.killing import run
from tests.resume.test_interruptions import result, same


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    out = folder / "out.pt"
    return result(run(folder / "saved", out, ranks=2), out)


def test_one_rank_is_told_to_end_and_both_save_at_the_same_step(tmp_path, whole):
    saved, out = tmp_path / "saved", tmp_path / "out.pt"
    done = run(saved, out, "SIGTERM:7", ranks=2)
    assert done.returncodes == [75, 75]
    assert done.printed.count("The same command goes on from there") == 1
    state = torch.load(sorted(saved.glob("*.pt"))[-1], weights_only=False)
    assert (state["epoch"], state["step"]) == (1, 3)  # the answer comes a step later
    same(result(run(saved, out, ranks=2), out), whole)


@pytest.mark.slow
def test_a_killed_rank_is_started_again_by_torchrun(tmp_path, whole):
    saved, out = tmp_path / "saved", tmp_path / "out.pt"
    done = torchrun(2, "--max-restarts=1", interrupted.__file__, saved, out, HURT="SIGKILL:8")
    ours = result(done, out)
    same(ours, whole)
    assert ours["processes"] == 2


def test_told_to_end_around_an_epochs_last_step_loses_nothing(tmp_path, whole):
    for number, step in enumerate((4, 5)):  # agreed on in the last step; after the validation
        saved, out = tmp_path / f"saved{number}", tmp_path / f"out{number}.pt"
        assert run(saved, out, f"SIGTERM:{step}", ranks=2).returncodes == [75, 75]
        last = ("checkpoint-00000-0000005.pt", "checkpoint-00001-0000000.pt")[number]
        assert sorted(saved.glob("*.pt"))[-1].name == last
        same(result(run(saved, out, ranks=2), out), whole)


PLACE = {"fit": 1, "epoch": 3, "step": 0, "complete": False}


def on_a_disk_of_its_own(folder):
    shared_folder._SECONDS = 0.5
    rank = keras_dawn.distribute().rank
    resume = ResumeTraining(f"{folder}/seen")
    with (
        mock.patch.object(resume.folder, "newest", lambda: PLACE if rank == 0 else None),
        pytest.raises(ValueError, match="fit, epoch, step by rank 0: .*1, 3, 0.*, rank 1: No"),
    ):
        resume.next_epoch()
    with mock.patch.object(resume.folder, "newest", lambda: PLACE):
        assert resume.next_epoch() == 3
    interrupted.main(f"{folder}/{os.environ['RANK']}", f"{folder}/out.pt")


def test_folders_that_ranks_do_not_share_are_noticed_when_the_training_begins(tmp_path):
    done = run_ranks(2, on_a_disk_of_its_own, str(tmp_path))
    assert 0 not in done.returncodes
    assert "Rank 1 does not find in" in done.printed
    assert not list(tmp_path.glob("*/checkpoint*"))


def test_three_ranks_of_which_one_is_killed_end_with_the_same_bits(tmp_path):
    out = tmp_path / "whole.pt"
    whole = result(run(tmp_path / "whole", out, ranks=3), out)
    saved, out = tmp_path / "saved", tmp_path / "out.pt"
    assert run(saved, out, "SIGKILL:9", ranks=3).returncode == -9
    same(result(run(saved, out, ranks=3), out), whole)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--half",)])
@pytest.mark.parametrize("ranks", [3, 5])
def test_more_ranks_of_which_one_is_killed_at_any_step(ranks, options, tmp_path):
    out = tmp_path / "whole.pt"
    whole = result(run(tmp_path / "whole", out, "nothing:0", *options, ranks=ranks), out)
    for step in range(2, 21, 3):
        saved, out = tmp_path / f"saved{step}", tmp_path / f"out{step}.pt"
        assert run(saved, out, f"SIGKILL:{step}", *options, ranks=ranks).returncode == -9
        same(result(run(saved, out, "nothing:0", *options, ranks=ranks), out), whole)
