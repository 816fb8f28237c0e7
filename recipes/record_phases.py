"""The phases of the record recipe: what each `fit` trains on."""

import itertools
from typing import NamedTuple

from keras_dawn import data


class Phase(NamedTuple):
    """What one `fit` trains on: all images, or the hardest.

    Args:
        first, last: ints; the phase ends before epoch `last`.
        data: what `fit` gets; its labels are probabilities, and it stays on the device.
    """

    first: int
    last: int
    data: data.SoftLabels


def load(preset, images, seed, memory):
    """The `Phase`s of a preset."""
    numbers = {"mean": images.mean, "std": images.std, "seed": seed}
    # A mirrored digit is another sign.
    flips = [] if images.name == "digits" else [data.AlternatingFlip()]
    bounds = {0, preset.hard_from, preset.epochs} - {None}
    phases = []
    for first, last in itertools.pairwise(sorted(bounds)):
        hard = preset.hard_from is not None and first >= preset.hard_from
        part = data.HardestImages(
            images.train_images,
            images.train_labels,
            preset.batch_size,
            memory=memory,
            share=preset.hard_share if hard else 1.0,
            augment=[data.PadCrop(2), *flips, data.Resize(preset.sizes)],
            drop_last=True,
            **numbers,
        )
        phases.append(Phase(first, last, data.SoftLabels(part, len(images.class_names))))
    return phases


def values(schedule, phases):
    """What a `ParameterSchedule` sets in each step of all phases: a list for each parameter."""
    parts = [schedule.values(phase.last, len(phase.data), phase.first) for phase in phases]
    return {name: [value for part in parts for value in part[name]] for name in parts[0]}
