"""One line for whoever starts a script plainly on several GPUs, or several times side by side."""

import os
import shlex
import sys

import torch


def say_how_to_use_all(stream=None):
    """Says on standard error, once a process, that one of several GPUs is used, and what uses all.

    Nothing is said on a machine with one GPU or none, nor to a process that torchrun started.

    Args:
        stream: where to say it, or `None` for standard error.
    """
    gpus = torch.cuda.device_count()
    if gpus < 2 or "WORLD_SIZE" in os.environ or getattr(say_how_to_use_all, "said", False):
        return
    say_how_to_use_all.said = True
    print(
        f"keras_dawn: trains on 1 of {gpus} GPUs; all are used by {_command(gpus)}",
        file=stream or sys.stderr,
    )


def _command(gpus):
    """What starts this program on all GPUs: a shell's command, or a call in a notebook."""
    if "ipykernel" in sys.modules or not sys.argv[0].endswith(".py"):
        return f"keras_dawn.distributed.launch(function, processes={gpus})"
    return f"`torchrun --nproc-per-node={gpus} {shlex.join(sys.argv)}`"


_TASKS = {"SLURM_STEP_NUM_TASKS": "srun", "OMPI_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpiexec"}


def say_who_works_alone(stream=None):
    """Says on standard error, once a process, that the tasks of srun or mpirun know nothing of
    each other, where torchrun's variables are not set.

    Args:
        stream: where to say it, or `None` for standard error.
    """
    if "WORLD_SIZE" in os.environ or getattr(say_who_works_alone, "said", False):
        return
    for variable, starter in _TASKS.items():
        number = os.environ.get(variable, "")
        if number.isdecimal() and int(number) > 1:
            say_who_works_alone.said = True
            print(
                f"keras_dawn: {starter} has started {number} processes, and each of them works "
                "alone. To train together they need torchrun's variables (RANK, WORLD_SIZE, "
                "LOCAL_RANK, MASTER_ADDR, MASTER_PORT): let it start one torchrun on each machine.",
                file=stream or sys.stderr,
            )
            return
