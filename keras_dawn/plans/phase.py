"""A part of a plan: image size, batch size, rate, momentum, decay, crop and validation."""

import math
import numbers
from dataclasses import dataclass

from keras_dawn import schedules
from keras_dawn.foundation.ranges import check_range


@dataclass(frozen=True)
class Crops:
    """What a phase trains on.

    Args:
        scale: `(low, high)`, the fraction of the photo's area that a random crop takes.
        copies: int, short side in pixels of the copies to read, or `None` for the originals.
    """

    scale: tuple = (0.08, 1.0)
    copies: int | None = None

    def __post_init__(self):
        check_range("scale", self.scale, most=1)


@dataclass(frozen=True)
class Validation:
    """What a phase is validated on.

    Args:
        size: int, pixels, or `None` for those of the training crops.
        rectangular: bool, whether on rectangles near each photo's shape.
    """

    size: int | None = None
    rectangular: bool = False


@dataclass(frozen=True)
class Phase:
    """A part of a training in which image size and batch size stay the same.

    Args:
        epochs: int, how many.
        image_size: int, pixels of the training crops.
        batch_size: int, images a step over all ranks.
        learning_rate: float; `(start, end)`: changes linearly, step by step; or a curve of
            progress in the phase (`keras_dawn.schedules`).
        momentum, weight_decay: the same; by default as compiled, and then in all phases of a
            plan: where one phase sets it, each has to.
        crops: `Crops`: how much of a photo a crop takes, and which copies are read.
        validation: int, pixels to validate at, or `Validation`; by default `image_size`.

    Raises:
        ValueError: numbers out of their range, or copies that are smaller than the crops.

    Example:
        >>> Phase(3, 128, 64, (0.1, 0.0), crops=Crops(copies=160), validation=160).evaluated_at
        160
    """

    epochs: int
    image_size: int
    batch_size: int
    learning_rate: float | tuple | schedules.Curve
    momentum: float | tuple | schedules.Curve | None = None
    weight_decay: float | tuple | schedules.Curve | None = None
    crops: Crops = Crops()
    validation: int | Validation = Validation()

    def __post_init__(self):
        if isinstance(self.validation, numbers.Integral):
            # The class is frozen, so that phases can be shared and compared; this is the way around
            # it.
            object.__setattr__(self, "validation", Validation(int(self.validation)))
        if not isinstance(self.validation, Validation) or not isinstance(self.crops, Crops):
            raise ValueError(
                f"`validation` must be pixels or a Validation, and `crops` Crops, got "
                f"{self.validation!r} and {self.crops!r}."
            )
        for name in ("epochs", "image_size", "batch_size"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral) or value < 1:
                raise ValueError(f"`{name}` must be a whole number from 1 up, got {value!r}.")
        for name in ("learning_rate", "momentum", "weight_decay"):
            given = getattr(self, name)
            pair = not isinstance(given, tuple) or len(given) == 2
            if not pair or not all(map(_is_from_zero_up, points(given))):
                raise ValueError(
                    f"`{name}` must be a number from 0 up, (start, end) or a curve of such, got "
                    f"{given!r}."
                )
        if max(points(self.momentum), default=0) >= 1:
            raise ValueError(f"`momentum` must be below 1, got {self.momentum!r}.")
        copies = self.crops.copies
        if copies is not None and copies < self.image_size:
            raise ValueError(
                f"Crops of {self.image_size} px cannot come from copies with a short side of "
                f"{copies} px."
            )

    @property
    def evaluated_at(self):
        """Pixels that the phase is validated at."""
        return self.validation.size or self.image_size

    def curves(self):
        """Curves of progress in the phase, by hyper-parameter (`keras_dawn.schedules`)."""
        found = {}
        for name in ("learning_rate", "momentum", "weight_decay"):
            given = getattr(self, name)
            span = ends(given)
            if span:
                found[name] = given if callable(given) else schedules.linear(span[0], span[-1])
        return found


@dataclass(frozen=True)
class PhaseCost:
    """What a phase takes.

    Args:
        images: int, images trained on.
        pixels: float, their pixels.
        flops: float, multiply-adds times 2, forward and backward (three times the forward).
        seconds: float, predicted training time, or `None` without measurements.
    """

    images: int
    pixels: float
    flops: float
    seconds: float | None


def _is_from_zero_up(value):
    return isinstance(value, numbers.Real) and value >= 0 and math.isfinite(value)


PROGRESS = tuple(n / 20 for n in range(21))  # where a curve of a phase is looked at


def points(value):
    """The ends of a hyper-parameter in a phase, and of a curve what lies between, to be checked."""
    return [value(progress) for progress in PROGRESS] if callable(value) else ends(value)


def ends(value):
    """The first and last value of a hyper-parameter in a phase; none if it stays as compiled."""
    if value is None:
        return ()
    if callable(value):
        return value(0.0), value(1.0)
    return value if isinstance(value, tuple) else (value,)
