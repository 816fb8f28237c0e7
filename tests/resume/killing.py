"""Runs `interrupted.py` on ranks that are killed or hurt otherwise."""

from types import SimpleNamespace

from tests.processes import run_ranks
from tests.resume import interrupted


def run(folder, out, hurt="nothing:0", *options, ranks=1, seconds=120):
    """Trains on so many ranks, of which the last is hurt.

    Returns:
        object with `returncode` of the rank that is hurt, `returncodes` of all, and what they
        `printed`.
    """
    done = run_ranks(ranks, interrupted.main, folder, out, *options, seconds=seconds, HURT=hurt)
    return SimpleNamespace(returncode=done.returncodes[-1], **vars(done))
