"""Runs scenarios by name, on each of the ranks that a test starts."""

from pathlib import Path

import keras_dawn

import behaviours  # noqa: F401  (registers its scenarios)
import every_layer
import torch
import within_a_fit  # noqa: F401
from python_scenarios import OWN
from scenarios import SCENARIOS, rank

LAYERS = {"layers": every_layer.all_layers, "sample_of_layers": every_layer.sample}
ALL = {**SCENARIOS, **OWN, **LAYERS}


def main(folder, names):
    """Writes what each scenario returns to `folder / NAME-RANK.pt`."""
    keras_dawn.distribute()
    for name in names:
        result = ALL[name]()
        torch.save(result, Path(folder) / f"{name}-{rank()}.pt")
