"""The two fits of the record recipe: what each trains on, at which rate."""

import itertools
from typing import NamedTuple

from keras_dawn import ParameterSchedule, data, schedules

from recipe_parts.record_light import Light


class RecordFit(NamedTuple):
    """One `fit`: on all images, or on the hardest.

    Args:
        epochs: `range` of the epochs.
        data: what `fit` gets; its labels are probabilities, and it stays on the device.
        schedule: `ParameterSchedule` of the learning rate over these epochs.
    """

    epochs: range
    data: data.DeviceImages
    schedule: ParameterSchedule


def load(preset, images, seed, memory):
    """The `RecordFit`s of a preset; the rate falls by the same in each step of all, to 0."""
    bounds = sorted({0, preset.hard_from, preset.epochs} - {None})
    parts = [
        (range(first, last), _data(preset, images, seed, memory, first))
        for first, last in itertools.pairwise(bounds)
    ]
    total = sum(len(epochs) * len(part) for epochs, part in parts)
    fits, done = [], 0
    for epochs, part in parts:
        end = done + len(epochs) * len(part)
        rate = schedules.linear(*(preset.max_lr * (1 - step / total) for step in (done, end)))
        fits.append(RecordFit(epochs, part, ParameterSchedule({"learning_rate": rate}, epochs)))
        done = end
    return fits


def _data(preset, images, seed, memory, epoch):
    hard = preset.hard_from is not None and epoch >= preset.hard_from
    fraction = preset.hard_fraction if hard else 1.0
    # A mirrored digit is another sign.
    flips = [] if images.name == "digits" else [data.AlternatingFlip()]
    return data.DeviceImages(
        images.train_images,
        images.train_labels,
        preset.batch_size,
        transforms=[
            data.PadCrop(2),
            *flips,
            data.Resize(preset.sizes),
            images.normalize,
            *([Light(*preset.light)] if preset.light else []),
            data.OneHot(len(images.class_names)),
        ],
        sampler=data.Hardest(memory, fraction, preset.hard_random, seed),
        drop_last=True,
    )


def values(fits):
    """The learning rate in each step of all fits: a dict for `reporting`."""
    parts = [one.schedule.values(one.epochs.stop, len(one.data)) for one in fits]
    return {"learning_rate": [value for part in parts for value in part["learning_rate"]]}
