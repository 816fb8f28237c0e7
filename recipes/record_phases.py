"""The phases of the record recipe: what each `fit` trains on, and at which rates."""

import dataclasses
import itertools

from keras_dawn import ParameterSchedule, data, schedules


@dataclasses.dataclass(frozen=True)
class Phase:
    """What one `fit` trains on: epochs `first` to `last`, all images or the hardest.

    Args:
        first, last: ints; the phase ends before epoch `last`.
        data: what `fit` gets.
        frozen: bool, whether the stem and the first group are kept as they are.
        rate: curve of the learning rate over the epochs from 0 to `last`.
    """

    first: int
    last: int
    data: data.SoftLabels
    frozen: bool
    rate: schedules.Curve

    def schedule(self):
        """The callback that sets the rate."""
        return ParameterSchedule({"learning_rate": self.rate})

    def rates(self):
        """The rate in each step, floats."""
        values = self.schedule().values(self.last, len(self.data), self.first)
        return values["learning_rate"]


def load(preset, images, seed, memory):
    """The `Phase`s; the data stays on the device, labels are probabilities."""
    numbers = {"mean": images.mean, "std": images.std, "seed": seed}
    # A mirrored digit is another sign.
    flips = [] if images.name == "digits" else [data.AlternatingFlip()]
    bounds = {0, preset.hard_from, preset.frozen_from, preset.epochs} - {None}
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
        fall = preset.hard_from if preset.hard_from and not hard else preset.epochs
        phases.append(
            Phase(
                first,
                last,
                data.SoftLabels(part, len(images.class_names)),
                frozen=preset.frozen_from is not None and first >= preset.frozen_from,
                rate=schedules.linear(preset.max_lr, preset.max_lr * (1 - last / fall)),
            )
        )
    return phases
