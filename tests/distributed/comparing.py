"""Runs scenarios in several processes and compares what they leave behind."""

import run_scenarios
import torch

from tests.processes import run_ranks


def run(processes, folder, names):
    """What each scenario returns on each rank, as a dict of lists."""
    done = run_ranks(processes, run_scenarios.main, folder, names, SAVE_TO=str(folder), seconds=300)
    assert done.returncodes == [0] * processes, done.printed[-6000:]
    return {
        name: [
            torch.load(folder / f"{name}-{rank}.pt", weights_only=False)
            for rank in range(processes)
        ]
        for name in names
    }


def found_by_two_ranks(main, folder, seconds):
    """What `main(folder)` has written on each of two ranks."""
    done = run_ranks(2, main, folder, seconds=seconds)
    assert done.returncodes == [0, 0], done.printed[-6000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


def assert_same_trainings(one, other):
    """Two `(tensors, history)` are the same, bit for bit."""
    (tensors, history), (others, again) = one, other
    assert history == again
    for tensor, same in zip(tensors, others, strict=True):
        assert torch.equal(tensor, same)


def largest_difference(ours, theirs, what="weights"):
    """The largest difference between the tensors in two results."""
    return max(
        float((a.double() - b.double()).abs().max())
        for a, b in zip(ours[what], theirs[what], strict=True)
        if a.numel()
    )
