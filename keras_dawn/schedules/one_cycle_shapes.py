"""The one-cycle policy (Smith & Topin 2017, https://arxiv.org/abs/1708.07120) in three shapes.

* `"cosine"`: up and down in two cosine parts, the default of
  `torch.optim.lr_scheduler.OneCycleLR` and of fastai's `fit_one_cycle`.
* `"three_phase"`: cosine up, as long down, then the rest down to the final rate
  (`OneCycleLR(three_phase=True)`).
* `"dawnbench"`: straight lines up, as long down, and a tail: the shape of fast.ai's 2018
  DAWNBench entries.
"""

import itertools
from dataclasses import dataclass

from keras_dawn.schedules.curves import Curve, constant, cosine, in_turn, is_number, linear

SHAPES = ("cosine", "three_phase", "dawnbench")


@dataclass(frozen=True)
class OneCycleShape:
    """Where the corners of one cycle lie and how far it goes down.

    Args:
        shape: `"cosine"`, `"three_phase"` or `"dawnbench"`.
        pct_start: float in (0, 1), fraction of the steps that the rate rises, for the
            first two shapes; 0.3 by default, at most 0.5 for `"three_phase"`.
        tail_fraction: float in [0, 1), fraction of the steps in the last part, for
            `"dawnbench"`; 0.1 by default.
        div_factor: float above 1; the rate starts at `max_lr / div_factor`.
        final_div_factor: float above 1; the rate ends at
            `max_lr / div_factor / final_div_factor`; 1e4 by default, 100 for `"dawnbench"`.
        momentum: `(high, low)` in [0, 1), or `None` to leave momentum alone.
    """

    shape: str = "cosine"
    pct_start: float | None = None
    tail_fraction: float | None = None
    div_factor: float = 25.0
    final_div_factor: float | None = None
    momentum: tuple | None = (0.95, 0.85)

    def __post_init__(self):
        if self.shape not in SHAPES:
            raise ValueError(f"`shape` must be one of {SHAPES}, got {self.shape!r}.")
        dawnbench = self.shape == "dawnbench"
        if dawnbench and self.pct_start is not None:
            raise ValueError("The 'dawnbench' shape takes `tail_fraction`, not `pct_start`.")
        if not dawnbench and self.tail_fraction is not None:
            raise ValueError(f"The {self.shape!r} shape takes `pct_start`, not `tail_fraction`.")
        if dawnbench:
            self._default("tail_fraction", 0.1)
            self._default("final_div_factor", 100.0)
            if not 0 <= self.tail_fraction < 1:
                raise ValueError(
                    f"`tail_fraction` must be in [0, 1), got {self.tail_fraction}. It is a "
                    "fraction of the steps, not a percentage."
                )
        else:
            self._default("pct_start", 0.3)
            self._default("final_div_factor", 1e4)
            limit = 0.5 if self.shape == "three_phase" else 1.0
            if not 0 < self.pct_start < 1 or self.pct_start > limit:
                raise ValueError(
                    f"`pct_start` must be above 0 and at most {limit:g}, got {self.pct_start}. "
                    "It is a fraction of the steps, not a percentage."
                )
        for name in ("div_factor", "final_div_factor"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"`{name}` must be 1 or more, got {getattr(self, name)}.")
        self._check_momentum()

    def _check_momentum(self):
        if self.momentum is None:
            return
        if not isinstance(self.momentum, (tuple, list)) or len(self.momentum) != 2:
            raise ValueError(f"`momentum` must be (high, low) or None, got {self.momentum!r}.")
        high, low = self.momentum
        if not 0 <= low <= high < 1:
            raise ValueError(
                f"`momentum` must be (high, low) with 0 ≤ low ≤ high < 1, got {self.momentum}."
            )

    def _default(self, name, value):
        if getattr(self, name) is None:
            object.__setattr__(self, name, value)

    def learning_rate(self, max_lr, total_steps=None):
        """The rate as a curve.

        Args:
            max_lr: float above 0, the highest rate.
            total_steps: int, number of steps of the training. With it the corners fall
                on the very steps where torch, or the DAWNBench entries, have them;
                without it they lie at the exact fractions.
        """
        check_max_lr(max_lr)
        start = max_lr / self.div_factor
        end = start / self.final_div_factor
        levels = {"cosine": [start, max_lr, end]}.get(self.shape, [start, max_lr, start, end])
        return self._through(levels, total_steps, f"max_lr={max_lr}")

    def momentum_curve(self, total_steps=None):
        """Momentum as a curve that falls while the rate rises, or `None`."""
        if self.momentum is None:
            return None
        high, low = self.momentum
        levels = [high, low, high] if self.shape == "cosine" else [high, low, high, high]
        curve = self._through(levels, total_steps, f"momentum={self.momentum}")
        if self.shape == "dawnbench" and total_steps:
            # The entries' code set momentum after it had counted the step: one step ahead.
            ahead = 1.0 / total_steps
            return Curve(lambda progress: curve(min(1.0, progress + ahead)), repr(curve))
        return curve

    def _through(self, levels, total_steps, what):
        if total_steps is not None and total_steps < 1:
            raise ValueError(f"`total_steps` must be 1 or more, got {total_steps}.")
        piece = linear if self.shape == "dawnbench" else cosine
        pieces = [constant(a) if a == b else piece(a, b) for a, b in itertools.pairwise(levels)]
        return Curve(
            in_turn(self._corners(total_steps), pieces), f"one_cycle({self.shape}, {what})"
        )

    def _corners(self, total_steps):
        """Progress at which each part ends."""
        if self.shape == "dawnbench":
            top = (1 - self.tail_fraction) / 2
            if total_steps:
                # Whole steps, rounded down as in the entries' code.
                top = int(total_steps * (1 - self.tail_fraction) / 2) / total_steps
            return [top, 2 * top, 1.0]
        # torch counts a part's last step as belonging to it, hence the -1 and -2.
        step = 1.0 / total_steps if total_steps else 0.0
        if self.shape == "cosine":
            return [self.pct_start - step, 1.0 - step]
        return [self.pct_start - step, 2 * self.pct_start - 2 * step, 1.0 - step]


def check_max_lr(max_lr):
    """Raises `ValueError` unless the rate is a number above 0."""
    if isinstance(max_lr, bool) or not is_number(max_lr) or not max_lr > 0:
        raise ValueError(
            f"`max_lr`, the highest learning rate, must be a number above 0, got {max_lr!r}."
        )


def one_cycle(max_lr, shape="cosine", total_steps=None, **corners):
    """The one-cycle learning rate as a curve of progress.

    Args:
        max_lr: float above 0, the highest rate.
        shape: `"cosine"`, `"three_phase"` or `"dawnbench"`.
        total_steps: int or `None`; see `OneCycleShape.learning_rate`.
        **corners: the other arguments of `OneCycleShape`.

    Example:
        >>> rate = one_cycle(1.5, "dawnbench", total_steps=2940, div_factor=20, tail_fraction=0.2)
        >>> rate(588 / 2940)
        0.7875
    """
    return OneCycleShape(shape, **corners).learning_rate(max_lr, total_steps)
