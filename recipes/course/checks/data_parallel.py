"""Checks of lesson 8."""

import numpy as np

from checks.judge import Case, judge


def check_combine(combine):
    """`combine(gradients, sizes)` returns the gradient of all images together."""
    gradients = np.array([[1.0, 2.0], [3.0, 6.0]])
    return judge(
        combine,
        [
            Case((gradients, np.array([4, 4])), [2.0, 4.0], "Equal shards: a plain mean."),
            Case((gradients, np.array([1, 3])), [2.5, 5.0], "How much does each mean count?"),
            Case((gradients[:1], np.array([7])), [1.0, 2.0], "One shard is the whole batch."),
        ],
    )


def check_warmed_up(rate):
    """`rate(rate, processes, step, warm_up)`: a line to the scaled rate."""
    return judge(
        rate,
        [
            Case((0.1, 8, 0, 100), 0.1, "It begins with the rate of one process."),
            Case((0.1, 8, 100, 100), 0.8, "Where does the line end?"),
            Case((0.1, 8, 50, 100), 0.45, "Half of the way between both."),
            Case((0.1, 8, 500, 100), 0.8, "After the warm-up it stays."),
        ],
    )
