"""A run of a photo recipe that is killed and goes on, beside one that is not."""

import signal

from tests import processes
from tests.on_device import torch


def whole_and_cut(recipe, flags, folder):
    """Last checkpoints of an unbroken run and of one that was killed in its second epoch.

    Args:
        recipe: path of the recipe.
        flags: list of str for every run.
        folder: where to run it; the unbroken run's folder is `a`, that of the last life `c`.

    Returns:
        two dicts, as the checkpoints hold them.
    """
    _run(recipe, flags, folder, "whole", "a")
    given = (*flags, "--checkpoints=cut", "--output_dir=b")
    done = processes.start(recipe, *given, cwd=folder).kill_once_there(
        folder / "cut" / "seed0" / "checkpoint-00001-0000003.pt"
    )
    assert done.returncode == -signal.SIGKILL, done.printed
    _run(recipe, flags, folder, "cut", "c")
    return [_newest(folder / name / "seed0") for name in ("whole", "cut")]


def _run(recipe, flags, folder, checkpoints, output):
    given = (*flags, f"--checkpoints={checkpoints}", f"--output_dir={output}")
    done = processes.run(recipe, *given, cwd=folder)
    assert done.returncode == 0, done.printed


def _newest(folder):
    newest = sorted(folder.glob("*.pt"))[-1]
    return torch.load(newest, weights_only=False, map_location="cpu")
