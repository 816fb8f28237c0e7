"""How a job of several processes ends."""

import re
import time

import endings
import pytest

from tests.processes import run_ranks, torchrun

SCRIPT = endings.__file__


@pytest.mark.slow
def test_a_killed_rank_ends_the_job_within_30_seconds():
    done = torchrun(2, SCRIPT, "kill", seconds=120)
    end = time.monotonic()  # the clock is the machine's, the same in all processes
    assert done.returncode != 0
    (killed,) = re.findall(r"killed at ([\d.]+)", done.printed)
    assert 0 < end - float(killed) < 30
    assert "SIGKILL" in done.printed


def test_an_exception_ends_the_job_with_that_ranks_message():
    done = torchrun(2, SCRIPT, "raise", seconds=60)
    assert done.returncode != 0
    assert "rank 1 of 2 failed" in done.printed
    assert "the coffee machine of rank one is empty" in done.printed
    assert "rank 0 of 2 failed" not in done.printed


@pytest.mark.slow
def test_sys_exit_on_one_rank_ends_the_job():
    begin = time.monotonic()
    done = torchrun(2, SCRIPT, "exit", seconds=120)
    assert done.returncode != 0 and time.monotonic() - begin < 60
    assert "rank one has had enough" in done.printed
    assert "rank 1 of 2 calls sys.exit" in done.printed


@pytest.mark.slow
def test_a_usage_error_of_absl_on_one_rank_ends_the_job():
    begin = time.monotonic()
    done = torchrun(2, SCRIPT, "usage", seconds=120)
    assert done.returncode != 0 and time.monotonic() - begin < 60
    assert "rank one has a flag of its own" in done.printed


def test_a_model_that_was_not_accelerated_is_warned_about():
    done = run_ranks(2, endings.main, "forgotten")
    assert done.returncodes == [0, 0], done.printed
    assert "each has worked alone" in done.printed


@pytest.mark.slow
def test_twenty_runs_end_cleanly():
    for _ in range(20):
        done = torchrun(2, SCRIPT, "well", seconds=60)
        assert done.returncode == 0, done.printed
        assert "terminate called" not in done.printed
