"""The phases of the record recipe: what each `fit` trains on, at which rate."""

import itertools
from typing import NamedTuple

from keras_dawn import ParameterSchedule, data, schedules


class Phase(NamedTuple):
    """What one `fit` trains on: all images, or the hardest.

    Args:
        first, last: ints; the phase ends before epoch `last`.
        data: what `fit` gets; its labels are probabilities, and it stays on the device.
        rate: the learning rate's curve over that `fit`, which counts its epochs from 0.
    """

    first: int
    last: int
    data: data.SoftLabels
    rate: schedules.Curve


def load(preset, images, seed, memory):
    """The `Phase`s of a preset; the rate falls by the same in each step of all of them, to 0."""
    bounds = sorted({0, preset.hard_from, preset.epochs} - {None})
    parts = [
        (first, last, _data(preset, images, seed, memory, first))
        for first, last in itertools.pairwise(bounds)
    ]
    total = sum((last - first) * len(part) for first, last, part in parts)
    phases, done = [], 0
    for first, last, part in parts:
        # `fit` would have begun so many steps before this phase, had it had as few of them.
        begin = done - first * len(part)
        end = begin + last * len(part)
        rate = schedules.linear(*(preset.max_lr * (1 - step / total) for step in (begin, end)))
        phases.append(Phase(first, last, part, rate))
        done = end
    return phases


def _data(preset, images, seed, memory, epoch):
    hard = preset.hard_from is not None and epoch >= preset.hard_from
    # A mirrored digit is another sign.
    flips = [] if images.name == "digits" else [data.AlternatingFlip()]
    part = data.HardestImages(
        images.train_images,
        images.train_labels,
        preset.batch_size,
        memory=memory,
        share=preset.hard_share if hard else 1.0,
        at_random=preset.hard_random,
        augment=[data.PadCrop(2), *flips, data.Resize(preset.sizes)],
        drop_last=True,
        mean=images.mean,
        std=images.std,
        seed=seed,
    )
    return data.SoftLabels(part, len(images.class_names))


def values(phases):
    """The learning rate in each step of all phases: a dict for `reporting`."""
    schedules_of = [(ParameterSchedule({"learning_rate": phase.rate}), phase) for phase in phases]
    parts = [own.values(phase.last, len(phase.data), phase.first) for own, phase in schedules_of]
    return {"learning_rate": [value for part in parts for value in part["learning_rate"]]}
