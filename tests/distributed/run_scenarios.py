"""Runs scenarios by name, in one process or under torchrun.

    torchrun --nproc-per-node=2 tests/distributed/run_scenarios.py FOLDER NAME NAME …

writes what each scenario returns to `FOLDER/NAME-RANK.pt`.
"""

import sys
from pathlib import Path

import keras_dawn

import behaviours  # noqa: F401  (registers its scenarios)
import torch
from scenarios import SCENARIOS, rank


def main(folder, names):
    torch.set_num_threads(1)
    keras_dawn.distribute()
    for name in names:
        result = SCENARIOS[name]()
        torch.save(result, Path(folder) / f"{name}-{rank()}.pt")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
