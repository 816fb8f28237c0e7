"""Checks of lesson 3."""

import numpy as np

from checks.judge import Case, judge


def check_smoothed(smoothed):
    """`smoothed(losses, beta)`: exponential averages with bias correction."""
    return judge(
        smoothed,
        [
            Case(([3.0], 0.9), [3.0], "The first average is the first loss itself."),
            Case(([2.0, 2.0, 2.0], 0.5), [2.0, 2.0, 2.0], "The average of equal losses is that "
                 "loss, from the first step on."),
            Case(([1.0, 3.0], 0.5), [1.0, 7 / 3], "With which power is the second divided?"),
        ],
    )  # fmt: skip


def check_steepest(steepest):
    """`steepest(rates, losses)`: where the loss falls fastest on a logarithmic axis."""
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1, 1.0])
    return judge(
        steepest,
        [
            Case((rates, np.array([3.0, 2.9, 2.0, 1.9, 5.0])), (1e-3, 1e-2), "Between which "
                 "neighbours is the largest fall?", 0),
            Case((rates, np.array([3.0, 3.0, 3.0, 2.0, 2.5])), (1e-2, 1e-1), "The loss should "
                 "fall there, not rise.", 0),
        ],
        within,
    )  # fmt: skip


def within(answer, bounds, tolerance):
    """Whether an answer lies between two numbers: either neighbour may be named."""
    return np.ndim(answer) == 0 and bounds[0] <= float(answer) <= bounds[1]
