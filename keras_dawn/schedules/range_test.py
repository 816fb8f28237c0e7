"""What a range test found: losses along a sweep, and where to go from there. Pure numbers."""

import math
import numbers
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sweep:
    """What a range test tries, and when it stops.

    Args:
        start, end: floats, the range; above 0 if it is `"exponential"`.
        steps: int from 2 up, how many values, one a batch.
        parameter: name of the hyper-parameter: `"learning_rate"`, `"momentum"`, `"weight_decay"`.
        spacing: `"exponential"`, a constant ratio between two values, or `"linear"`.
        smoothing: float in [0, 1), the weight of the past in the smoothed loss.
        stop_factor: float above 1, how many times its lowest the smoothed loss may reach, or
            `None` to go on to the end, as with losses that fall below 0, which has no such times.

    Raises:
        ValueError: a range that makes no sense, or other numbers out of their range.

    Example:
        >>> Sweep(0.0, 1.0, 5, spacing="linear").values()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """

    start: float = 1e-7
    end: float = 10.0
    steps: int = 100
    parameter: str = "learning_rate"
    spacing: str = "exponential"
    smoothing: float = 0.98
    stop_factor: float | None = 4.0

    def __post_init__(self):
        exponential = self.spacing == "exponential"
        if self.spacing not in ("exponential", "linear"):
            raise ValueError(f'`spacing` must be "exponential" or "linear", got {self.spacing!r}.')
        for name in ("start", "end", "smoothing", "stop_factor"):
            value = getattr(self, name)
            if not isinstance(value, numbers.Real) and (name, value) != ("stop_factor", None):
                raise ValueError(f"`{name}` must be a number, got {value!r}.")
        if not isinstance(self.steps, numbers.Integral):
            raise ValueError(f"`steps` must be a whole number from 2 up, got {self.steps!r}.")
        finite = math.isfinite(self.start) and math.isfinite(self.end)
        if (
            not finite
            or self.steps < 2
            or self.start >= self.end
            or (exponential and self.start <= 0)
        ):
            low = "0 < start < end" if exponential else "start < end"
            raise ValueError(
                f"A sweep needs {low} and at least 2 steps, got {self.start}, {self.end} and "
                f"{self.steps}."
            )
        if not 0 <= self.smoothing < 1:
            raise ValueError(f"`smoothing` must be in [0, 1), got {self.smoothing}.")
        if self.stop_factor is not None and not self.stop_factor > 1:
            raise ValueError(f"`stop_factor` must be above 1, or None, got {self.stop_factor}.")

    def values(self):
        """The values, a list of `steps` floats from `start` to `end`."""
        fractions = [step / (self.steps - 1) for step in range(self.steps)]
        if self.spacing == "linear":
            return [self.start + (self.end - self.start) * fraction for fraction in fractions]
        return [self.start * (self.end / self.start) ** fraction for fraction in fractions]


@dataclass(frozen=True)
class RangeTest:
    """Losses of a training in which one hyper-parameter swept a range.

    The suggestions are fastai's, on the smoothed losses without the first tenth of the steps that
    were planned and the last five that were taken (where smoothing has little to go by, and where
    it diverges). They are meant for learning rates.

    Args:
        parameter: str, what was swept.
        values: list of floats, its value in each step.
        losses: list of floats, the loss of each step's batch.
        smoothed: list of floats, an exponential moving average, corrected for its start.
        stopped: str, why the sweep ended.
        planned: int, how many steps it was to have, or `None` where it had them all.
        validation_values, validation_losses: lists of floats, where a sample was validated.

    Example:
        >>> found = RangeTest.from_losses("learning_rate", [0.001, 0.01, 0.1], [3.0, 2.0, 5.0])
        >>> found.values[found.losses.index(min(found.losses))]
        0.01
    """

    parameter: str
    values: list
    losses: list
    smoothed: list
    stopped: str = ""
    validation_values: tuple = ()
    validation_losses: tuple = ()
    planned: int | None = None

    def __repr__(self):
        steps, stopped = len(self.losses), f", {self.stopped}" if self.stopped else ""
        ends = f" from {self.values[0]:.3g} to {self.values[-1]:.3g}" if steps else ""
        return f"RangeTest({self.parameter}{ends}, {steps:,} steps{stopped})"

    @classmethod
    def from_losses(cls, parameter, values, losses, smoothing=0.98, **rest):
        """A result with the losses smoothed; `smoothing` in [0, 1), 0 keeps them."""
        return cls(parameter, list(values), list(losses), smooth(losses, smoothing), **rest)

    @property
    def valley(self):
        """The value in the middle of the longest fall of the loss.

        The longest decreasing subsequence of the losses; its first third is passed over, and
        the middle of its second third is taken.
        """
        values, losses = self._usable()
        # A subsequence, not a run: one noisy loss must not end the fall.
        start, end = longest_fall(losses)
        third = (end - start) / 3
        return values[start + int(third) + int(third / 2)]

    @property
    def minimum(self):
        """A tenth of the value at the lowest loss."""
        values, losses = self._usable()
        # At the lowest loss itself the training is about to diverge.
        return values[int(np.argmin(losses))] / 10

    @property
    def steep(self):
        """The value where the loss falls fastest with the value's logarithm."""
        # The logarithm: a step of the sweep multiplies the value.
        values, losses = self._usable()
        slopes = np.diff(losses) / np.diff(np.log(values))
        return values[int(np.argmin(slopes))]

    @property
    def slide(self):
        """The value at the left edge of a window that slides in from the right.

        It is 15 steps wide and stops where the slopes at its two edges differ by no more than
        0.005.
        """
        window, threshold = 15, 0.005
        values, losses = self._usable()
        slopes = np.gradient(np.asarray(losses))
        right, left = -1, -1 - window
        if -left > len(values):
            raise ValueError(
                f"`slide` needs {window + 1} steps after the ends are cut off, there are "
                f"{len(values)}. Sweep with more steps."
            )
        found = values[left]
        while -left <= len(values) and abs(slopes[right] - slopes[left]) > threshold:
            found = values[left]
            right, left = right - 1, left - 1
        return found

    def plot(self, path=None):
        """Draws the curve with the suggestions; see `keras_dawn.plots.plot_range_test`."""
        from keras_dawn import plots

        return plots.plot_range_test(self, path)

    def _usable(self):
        """Values and smoothed losses that suggestions look at."""
        count = len(self.values)
        first = (self.planned or count) // 10
        values, losses = self.values[first:-5], self.smoothed[first:-5]
        # A mean that has met a NaN stays NaN: what comes after it tells nothing.
        finite = next((n for n, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
        if self.losses and not math.isfinite(self.losses[0]):
            raise ValueError(
                f"There is no suggestion: the loss is {self.losses[0]} at the first step already. "
                "Look at the data, the labels and the model's loss."
            )
        if finite < 3:
            raise ValueError(
                f"A suggestion needs some finite losses after the ends are cut off, there are "
                f"{finite} of {count} steps. Start the sweep lower, or sweep with more steps."
            )
        return values[:finite], losses[:finite]


def smooth(losses, smoothing):
    """Exponential moving average, corrected for its start (Kingma & Ba 2014).

    Args:
        losses: list of floats.
        smoothing: float in [0, 1), the weight of the past.

    Returns:
        list of floats.
    """
    mean, found = 0.0, []
    for number, loss in enumerate(losses, 1):
        mean = smoothing * mean + (1 - smoothing) * loss
        # The mean began at 0: divided by the weights so far, it isn't pulled there.
        found.append(mean / (1 - smoothing**number))
    return found


def longest_fall(losses):
    """First and last place of the longest decreasing subsequence, the first of equal ones.

    The first place is counted back from the last by the subsequence's length, as fastai does:
    it is where the fall would have begun if it had no gaps.
    """
    lengths = []
    for loss in losses:
        before = [length for other, length in zip(losses, lengths, strict=False) if other > loss]
        lengths.append(max(before, default=0) + 1)
    end = int(np.argmax(lengths))
    return (end - lengths[end] if lengths[end] > 1 else 0), end
