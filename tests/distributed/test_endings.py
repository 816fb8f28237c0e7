"""How a job of several processes ends."""

import re
import time
from pathlib import Path

import pytest
from test_ranks import torchrun

SCRIPT = Path(__file__).with_name("endings.py")


def test_a_killed_rank_ends_the_job_within_30_seconds():
    done = torchrun(2, SCRIPT, "kill", seconds=120)
    end = time.monotonic()  # the clock is the machine's, the same in all processes
    assert done.returncode != 0
    (killed,) = re.findall(r"killed at ([\d.]+)", done.stdout)
    assert 0 < end - float(killed) < 30
    assert "SIGKILL" in done.stderr


def test_an_exception_ends_the_job_with_that_ranks_message():
    done = torchrun(2, SCRIPT, "raise", seconds=60)
    assert done.returncode != 0
    assert "rank 1 of 2 failed" in done.stderr
    assert "the coffee machine of rank one is empty" in done.stderr
    assert "rank 0 of 2 failed" not in done.stderr


def test_a_model_that_was_not_accelerated_is_warned_about():
    done = torchrun(2, SCRIPT, "forgotten", seconds=60)
    assert done.returncode == 0, done.stderr
    assert "each has worked alone" in done.stderr


@pytest.mark.slow
def test_twenty_runs_end_cleanly():
    for _ in range(20):
        done = torchrun(2, SCRIPT, "well", seconds=60)
        assert done.returncode == 0, done.stderr
        assert "terminate called" not in done.stderr
