"""A training planned as a whole: image size, batch size, rate, momentum, decay, crop, by phase."""

import itertools
from dataclasses import replace

from keras_dawn.foundation.counted import counted
from keras_dawn.plans.phase import PROGRESS, Phase, PhaseCost, ends, points
from keras_dawn.schedules import Curve


class TrainingPlan:
    """Phases one after the other, as one training.

    Args:
        phases: list of `Phase`.
        name: str.
        source: str, where the settings are from.

    Raises:
        ValueError: no phases, or settings that do not fit together.

    Example:
        >>> plan = TrainingPlan(
        ...     [Phase(2, 128, 512, (0.1, 1.0), validation=160), Phase(1, 224, 224, (0.4, 0.0))]
        ... )
        >>> plan.epochs, plan.values(images=1024)["image_size"]
        (3, [128, 128, 128, 128, 224, 224, 224, 224])
    """

    def __init__(self, phases, name="plan", source=""):
        self.phases, self.name, self.source = list(phases), name, source
        if not self.phases or not all(isinstance(phase, Phase) for phase in self.phases):
            raise ValueError(f"`phases` must be a list of Phase, got {phases!r}.")
        for name in ("momentum", "weight_decay"):
            # A phase without a value would go on with the last one of the phase before.
            given = [getattr(phase, name) is not None for phase in self.phases]
            if any(given) and not all(given):
                raise ValueError(f"`{name}` is planned in some phases and left out in others.")

    def __repr__(self):
        epochs, phases = counted(self.epochs, "epoch"), counted(len(self.phases), "phase")
        return f"<TrainingPlan {self.name}: {epochs} in {phases}>"

    @property
    def epochs(self):
        """Epochs in all."""
        return sum(phase.epochs for phase in self.phases)

    def starts(self):
        """`(first epoch, phase)` of every phase; epochs count from 0."""
        first = 0
        for phase in self.phases:
            yield first, phase
            first += phase.epochs

    def phase_at(self, epoch):
        """The phase that an epoch (0-based) belongs to.

        Raises:
            ValueError: an epoch outside the plan.
        """
        for first, phase in self.starts():
            if first <= epoch < first + phase.epochs:
                return phase
        raise ValueError(f"{self.name} has epochs 0 to {self.epochs - 1}, got {epoch}.")

    def values(self, images):
        """What every step will use, before any training.

        Args:
            images: int, images in the training set; an epoch has `images // batch_size` steps.

        Returns:
            dict from `learning_rate`, `momentum`, `weight_decay`, `image_size` and `batch_size`
            to lists with one number a step.
        """
        found = {}
        for phase in self.phases:
            steps = phase.epochs * steps_per_epoch(phase, images)
            for name, curve in phase.curves().items():
                found.setdefault(name, []).extend(curve(step / steps) for step in range(steps))
            for name in ("image_size", "batch_size"):
                found.setdefault(name, []).extend([getattr(phase, name)] * steps)
        return found

    def by_epoch(self):
        """What each epoch uses: a dict of lists with an entry for each.

        Sizes as int, of crops and validation the settings in words, of hyper-parameters
        `(at its beginning, at its end)`, of curves of one's own with values between.
        """
        found = {}
        for phase in self.phases:
            crops, seen = phase.crops, phase.validation
            copies = f" of {crops.copies} px copies" if crops.copies else ""
            shape = "rectangles of " if seen.rectangular else ""
            for name, value in (
                ("image_size", phase.image_size),
                ("batch_size", phase.batch_size),
                ("crops", f"{crops.scale[0]:g}–{crops.scale[1]:g}{copies}"),
                ("validation", f"{shape}{phase.evaluated_at}"),
            ):
                found.setdefault(name, []).extend([value] * phase.epochs)
            for name, curve in phase.curves().items():
                within = PROGRESS if callable(getattr(phase, name)) else ()
                for span in itertools.pairwise(n / phase.epochs for n in range(phase.epochs + 1)):
                    between = [progress for progress in within if span[0] < progress < span[1]]
                    values = tuple(map(curve, (span[0], *between, span[1])))
                    found.setdefault(name, []).append(values)
        return found

    def scaled(self, factor):
        """The plan with batch sizes and learning rates times `factor` (the linear rule).

        For instance 1 / 8 of an eight-GPU plan for one GPU.

        Raises:
            ValueError: a batch size that would not be whole.
        """
        phases = []
        for phase in self.phases:
            batch_size = phase.batch_size * factor
            if batch_size < 1 or batch_size != int(batch_size):
                raise ValueError(f"A batch of {phase.batch_size} times {factor} is not whole.")
            rate = _times(phase.learning_rate, factor)
            phases.append(replace(phase, batch_size=int(batch_size), learning_rate=rate))
        return TrainingPlan(phases, f"{self.name} × {factor:g}", self.source)

    def costs(self, images, flops_per_pixel, images_per_second=None):
        """What each phase takes, as a list of `PhaseCost`.

        Args:
            images: int, images in the training set.
            flops_per_pixel: float, of one forward pass (convolutions cost by the pixel).
            images_per_second: dict from image size to the measured rate of training, or `None`.

        Raises:
            ValueError: an image size that was not measured.
        """
        costs = []
        for phase in self.phases:
            count = phase.epochs * steps_per_epoch(phase, images) * phase.batch_size
            pixels = count * phase.image_size**2
            seconds = None
            if images_per_second is not None:
                if phase.image_size not in images_per_second:
                    raise ValueError(
                        f"No rate was given for {phase.image_size} px, only for "
                        f"{sorted(images_per_second)}."
                    )
                seconds = count / images_per_second[phase.image_size]
            # The backward pass takes two products for each one of the forward pass: with respect to
            # the inputs and to the weights.
            costs.append(PhaseCost(count, pixels, 3 * pixels * flops_per_pixel, seconds))
        return costs

    def table(self):
        """The phases as rows of text, the first one the header; epochs from 1, as in `fit`."""
        rows = [
            ("epochs", "px", "batch", "learning rate", "momentum", "decay", "crop", "validated at",
             "read from")
        ]  # fmt: skip
        for first, phase in self.starts():
            shape = "rectangles of " if phase.validation.rectangular else ""
            scale, copies = phase.crops.scale, phase.crops.copies
            rows.append(
                (
                    f"{first + 1}–{first + phase.epochs}" if phase.epochs > 1 else f"{first + 1}",
                    str(phase.image_size),
                    str(phase.batch_size),
                    _text(phase.learning_rate),
                    _text(phase.momentum),
                    _text(phase.weight_decay),
                    f"{scale[0]:g}–{scale[1]:g}",
                    f"{shape}{phase.evaluated_at}",
                    f"{copies} px copies" if copies else "originals",
                )
            )
        return rows

    def __str__(self):
        rows = self.table()
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = [
            "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        return "\n".join([f"{self.name} ({counted(self.epochs, 'epoch')})", *lines])

    def plot(self, path=None):
        """Draws what the epochs will use; see `keras_dawn.plots.plot_schedule`."""
        from keras_dawn import plots

        return plots.plot_schedule(self.values_by_epoch(), self.epochs, path=path)

    def values_by_epoch(self, points=50):
        """Like `values`, with as many points for every epoch whatever its steps."""
        found = {}
        for phase in self.phases:
            count = points * phase.epochs
            for name, curve in phase.curves().items():
                found.setdefault(name, []).extend(curve(p / count) for p in range(count))
            for name in ("image_size", "batch_size"):
                found.setdefault(name, []).extend([getattr(phase, name)] * count)
        return found


def steps_per_epoch(phase, images):
    """Whole batches in an epoch.

    Raises:
        ValueError: fewer images than a batch.
    """
    steps = images // phase.batch_size
    if not steps:
        raise ValueError(f"{images} images make no batch of {phase.batch_size}.")
    return steps


def _times(rate, factor):
    """A phase's rate, multiplied."""
    if callable(rate):
        return Curve(lambda progress: factor * rate(progress), f"{factor:g} × {rate!r}")
    if isinstance(rate, tuple):
        return tuple(value * factor for value in rate)
    return rate * factor


def _text(value):
    if callable(value):
        first, last = ends(value)
        return f"curve {first:.4g} → {max(points(value)):.4g} → {last:.4g}"
    return " → ".join(f"{end:.4g}" for end in ends(value)) or "as compiled"
