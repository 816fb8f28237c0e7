"""A checkpoint goes on on another number of ranks as the unbroken training would have."""

import pytest
import torch

from tests.processes import run_ranks
from tests.resume import elastic


def life(kind, folder, out, ranks, cut=None, synchronize=True):
    """What rank 0 is left with, and what all printed; nothing is left of one that is cut off."""
    done = run_ranks(ranks, elastic.main, kind, folder, out, cut, synchronize, seconds=250)
    if cut is None:
        assert done.returncodes == [0] * ranks, done.printed[-6000:]
        return torch.load(f"{out}-0"), done.printed
    assert "cut off" in done.printed, done.printed[-6000:]
    return None, done.printed


def difference(ours, theirs):
    return max(
        float((a - b).abs().max())
        for name in ("weights", "optimizer")
        for a, b in zip(ours[name], theirs[name], strict=True)
    )


def changes(kind, lives, tmp_path):
    """Lives of `(ranks, steps)` one after the other against an unbroken training."""
    first = 2 if kind in ("arrays", "loader") else 1  # where one alone has an order of its own
    whole, _ = life(kind, tmp_path / "whole", tmp_path / "whole.pt", first)
    for number, (ranks, cut) in enumerate(lives):
        result, printed = life(kind, tmp_path / "cut", tmp_path / "cut.pt", ranks, cut)
        if number and lives[number - 1][0] != ranks:
            assert f"with {ranks} in place of {lives[number - 1][0]} rank" in printed
    assert difference(result, whole) < 1e-10
    for name, values in whole["history"].items():
        assert result["history"][name] == pytest.approx(values, abs=1e-6), name


def test_one_training_goes_on_on_two_ranks_one_and_two_again(tmp_path):
    changes("images", [(2, 6), (1, 5), (2, None)], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["images", "arrays", "loader", "plan", "own train_step"])
def test_one_training_on_eight_ranks_four_two_one_and_four(kind, tmp_path):
    changes(kind, [(8, 3), (4, 4), (2, 3), (1, 5), (4, None)], tmp_path)


@pytest.mark.slow
def test_where_batch_normalisation_is_not_synchronised_each_rank_normalises_by_its_own(tmp_path):
    whole, _ = life("images", tmp_path / "whole", tmp_path / "whole.pt", 1)
    life("images", tmp_path / "cut", tmp_path / "cut.pt", 1, 9)
    result, printed = life("images", tmp_path / "cut", tmp_path / "cut.pt", 2, synchronize=False)
    assert "goes on at epoch 3, step 2 of 4, with 2 in place of 1 rank" in printed
    assert "takes up what has changed: synchronized batch normalisations 1 of 1 → 0 of 1" in printed
    assert 1e-6 < difference(result, whole) < 1  # the same images, normalised otherwise
    for name, values in whole["history"].items():
        assert result["history"][name][:2] == pytest.approx(values[:2], abs=1e-6), name
        assert len(result["history"][name]) == len(values)
    kept = tmp_path / "kept"
    for part, cut in (("a", None), ("b", 6), ("b", None)):  # as many as before: to the bit
        life("images", kept / part, tmp_path / f"{part}.pt", 2, cut, synchronize=False)
    ours, theirs = (torch.load(tmp_path / f"{part}.pt-0") for part in "ba")
    assert difference(ours, theirs) == 0
