"""Trainings killed at random steps, and started again; with `-m slow`, fifty on two ranks.

Everything else about a single process is in `test_matrix`.
"""

import random

import pytest
import torch

from tests.resume.killing import run
from tests.resume.test_interruptions import same

STEPS = 20
ACCELERATED, PLAIN = [(), ("--half",)], [("--plain",), ("--half", "--plain")]
CASES = [  # several ranks train accelerated models only
    *((1, options) for options in ACCELERATED + PLAIN),
    *((2, options) for options in ACCELERATED),
]


def kill(times, ranks, options, tmp_path, seed):
    out = tmp_path / "whole.pt"
    assert run(tmp_path / "whole", out, "nothing:0", *options, ranks=ranks).returncode == 0
    whole = torch.load(out, weights_only=False)
    draw = random.Random(seed)
    for number in range(times):
        folder, out = tmp_path / str(number), tmp_path / f"{number}.pt"
        step = draw.randint(1, STEPS)
        hurt = run(folder, out, f"SIGKILL:{step}", *options, ranks=ranks)
        assert hurt.returncode == -9 and not out.exists()
        assert run(folder, out, "nothing:0", *options, ranks=ranks).returncode == 0, step
        same(torch.load(out, weights_only=False), whole)


@pytest.mark.parametrize(("ranks", "options"), CASES)
def test_random_kills_leave_no_trace(ranks, options, tmp_path):
    kill(2, ranks, options, tmp_path, seed=100 + CASES.index((ranks, options)))


@pytest.mark.slow
@pytest.mark.parametrize("options", ACCELERATED)
def test_fifty_random_kills_of_a_rank_leave_no_trace(options, tmp_path):
    kill(50, 2, options, tmp_path, seed=CASES.index((2, options)))
