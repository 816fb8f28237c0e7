"""Runs `interrupted.py` in processes that are forked from one that has imported everything."""

import multiprocessing
import os
import socket
from types import SimpleNamespace

import torch

from tests.callbacks import interrupted

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.callbacks.interrupted"])


def run(folder, out, hurt="nothing:0", *options, ranks=1, seconds=120):
    """Trains on so many ranks, of which the last is hurt.

    Returns:
        object with `returncode` of the rank that is hurt, `returncodes` of all, and `stderr`.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    errors, errors_of_ranks = _processes.Pipe(duplex=False)  # files may be full
    started = []
    for rank in map(str, range(ranks)):
        environment = {**job, "HURT": hurt, "RANK": rank, "LOCAL_RANK": rank}
        arguments = (environment, errors_of_ranks, folder, out, options)
        started.append(_processes.Process(target=_train, args=arguments))
        started[-1].start()
    for process in reversed(started):
        process.join(seconds)
    for process in started:
        process.kill()  # no effect on one that has ended
    errors_of_ranks.close()
    with open(errors.fileno(), closefd=False) as file:
        stderr = file.read()
    errors.close()
    codes = [process.exitcode for process in started]
    return SimpleNamespace(returncode=codes[-1], returncodes=codes, stderr=stderr)


def _train(environment, errors, folder, out, options):
    os.environ.update(environment)
    os.dup2(errors.fileno(), 2)
    errors.close()
    torch.set_num_threads(1)
    interrupted.main(folder, out, *options)
