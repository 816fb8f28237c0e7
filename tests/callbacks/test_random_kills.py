"""Trainings killed at random steps, fifty of each kind, and started again: `-m slow`."""

import multiprocessing
import os
import random
import socket

import pytest
import torch

from tests.callbacks import interrupted
from tests.callbacks.test_interruptions import STEPS, same

KILLS = 50
ACCELERATED, PLAIN = [(), ("--half",)], [("--plain",), ("--half", "--plain")]
CASES = [  # several ranks train accelerated models only
    *((1, options) for options in ACCELERATED + PLAIN),
    *((2, options) for options in ACCELERATED),
]
# Processes are forked from one that has imported everything, and has computed nothing yet.
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["tests.callbacks.interrupted"])


def train(environment, folder, out, options):
    os.environ.update(environment)
    torch.set_num_threads(1)
    interrupted.main(folder, out, *options)


def run(ranks, folder, out, hurt, options):
    """Exit codes of a training on so many ranks, of which the last is hurt."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        processes.Process(
            target=train,
            args=(
                {**job, "HURT": hurt, "RANK": f"{r}", "LOCAL_RANK": f"{r}"},
                folder,
                out,
                options,
            ),
        )
        for r in range(ranks)
    ]
    for process in started:
        process.start()
    for process in reversed(started):
        process.join(120)
    for process in started:
        process.kill()  # no effect on one that has ended
    return [process.exitcode for process in started]


@pytest.mark.slow
@pytest.mark.parametrize(("ranks", "options"), CASES)
def test_fifty_random_kills(ranks, options, tmp_path):
    whole = tmp_path / "whole.pt"
    assert run(ranks, tmp_path / "whole", whole, "nothing:0", options) == [0] * ranks
    whole = torch.load(whole, weights_only=False)
    draw = random.Random(len(options) + 10 * ranks)
    for number in range(KILLS):
        folder, out = tmp_path / str(number), tmp_path / f"{number}.pt"
        step = draw.randint(1, STEPS)
        assert run(ranks, folder, out, f"SIGKILL:{step}", options)[-1] == -9
        assert run(ranks, folder, out, "nothing:0", options) == [0] * ranks, step
        same(torch.load(out, weights_only=False), whole)
