"""One line for whoever starts a script plainly on a machine with several GPUs."""

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
