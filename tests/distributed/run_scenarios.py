"""Runs scenarios by name, on each of the ranks that a test starts."""

from pathlib import Path

import keras_dawn

import behaviours  # noqa: F401  (registers its scenarios)
import torch
from own_python import OWN
from scenarios import SCENARIOS, rank


def main(folder, names):
    """Writes what each scenario returns to `folder / NAME-RANK.pt`."""
    keras_dawn.distribute()
    for name in names:
        result = {**SCENARIOS, **OWN}[name]()
        torch.save(result, Path(folder) / f"{name}-{rank()}.pt")
