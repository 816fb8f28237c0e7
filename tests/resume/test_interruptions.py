"""A training that is killed, asked to stop, or robbed of its disk, in processes of their own."""

import pytest
import torch

from tests.resume.killing import run


def result(done, out):
    assert done.returncode == 0, done.printed
    return torch.load(out, weights_only=False)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Results of unbroken runs by their options."""
    found, folder = {}, tmp_path_factory.mktemp("whole")

    def get(*options):
        if options not in found:
            out = folder / f"{len(found)}.pt"
            found[options] = result(run(folder / f"{len(found)}", out, "nothing:0", *options), out)
        return found[options]

    return get


def same(ours, theirs):
    for name in ("weights", "optimizer"):
        for a, b in zip(ours[name], theirs[name], strict=True):
            assert torch.equal(a, b)
    assert ours["history"] == theirs["history"]


def test_kills_one_after_the_other_leave_no_trace_but_the_paid_time(tmp_path, whole):
    folder, out = tmp_path / "checkpoints", tmp_path / "out.pt"
    for hurt in ("SIGKILL:4", "SIGKILL:9", "SIGKILL:2"):  # steps of each process's own count
        assert run(folder, out, hurt).returncode == -9
    ours = result(run(folder, out), out)
    same(ours, whole())
    assert ours["processes"] == 4
    assert ours["paid"] > whole()["paid"]


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 75), ("SIGINT", 1)])
def test_a_signal_saves_at_the_step_and_ends_with_the_stated_code(name, code, tmp_path, whole):
    folder, out = tmp_path / "checkpoints", tmp_path / "out.pt"
    done = run(folder, out, f"{name}:8")
    assert done.returncode == code
    assert "The same command goes on from there" in done.printed
    assert sorted(folder.glob("*.pt"))[-1].name == "checkpoint-00001-0000003.pt"
    same(result(run(folder, out), out), whole())


def test_a_full_disk_is_warned_about_and_the_training_goes_on(tmp_path, whole):
    folder, out = tmp_path / "checkpoints", tmp_path / "out.pt"
    done = run(folder, out, "full:8")
    assert done.returncode != 0  # the result cannot be written either
    assert "No checkpoint was written" in done.printed and "Make room on the disk" in done.printed
    files = sorted(folder.glob("*.pt"))
    assert files[-1].name == "checkpoint-00001-0000002.pt"
    assert not list(folder.glob("*.partial"))
    same(result(run(folder, out), out), whole())


def test_weights_that_are_not_finite_end_it_and_replace_nothing(tmp_path, whole):
    folder, out = tmp_path / "checkpoints", tmp_path / "out.pt"
    done = run(folder, out, "nan:8")
    assert "FloatingPointError" in done.printed
    assert "checkpoint-00001-0000002.pt is the last good one" in done.printed
    same(result(run(folder, out), out), whole())


def test_a_clock_that_is_set_back_changes_nothing(tmp_path, whole):
    out = tmp_path / "out.pt"
    same(result(run(tmp_path / "checkpoints", out, "clock:3"), out), whole())


def test_a_folder_that_is_in_use_or_none_is_refused(tmp_path):
    from keras_dawn.resume.checkpoints import CheckpointFolder

    folder = CheckpointFolder(tmp_path / "checkpoints", 2)
    folder.take()
    done = run(folder.path, tmp_path / "out.pt")
    folder.close()
    assert done.returncode != 0
    assert "Another process trains with the checkpoints in" in done.printed
    with pytest.raises(OSError, match="/sys cannot be written"):  # even root may not
        CheckpointFolder("/sys", 2).take()
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = run(tmp_path / "file", tmp_path / "out.pt")
    assert "cannot be written" in done.printed and str(tmp_path / "file") in done.printed


def test_a_signal_in_an_epochs_last_step_saves_before_the_validation(tmp_path, whole):
    folder, out = tmp_path / "checkpoints", tmp_path / "out.pt"
    assert run(folder, out, "SIGTERM:10").returncode == 75
    assert sorted(folder.glob("*.pt"))[-1].name == "checkpoint-00001-0000005.pt"
    same(result(run(folder, out), out), whole())
