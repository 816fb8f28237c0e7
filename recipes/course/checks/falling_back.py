"""Checks of lesson 14."""

import numpy as np
import torch

from checks.judge import Case, judge


def check_seconds_a_step(seconds_a_step):
    """`seconds_a_step(plain, fraction, gain)`: Amdahl's law."""
    return judge(
        seconds_a_step,
        [
            Case((8.0, 1.0, 4.0), 2.0, "All of it is native: a fourth of the time."),
            Case((8.0, 0.0, 4.0), 8.0, "Nothing is native: nothing is gained."),
            Case((8.0, 0.5, 4.0), 5.0, "Half of the time stays, the other half becomes a fourth."),
        ],
    )


def check_shrink(shrink):
    """`shrink(x, threshold)` is the soft threshold."""

    def answer(values, threshold):
        given = shrink(torch.tensor(values), threshold)
        return given if given is None or given is Ellipsis else np.asarray(given)

    answer.__name__ = shrink.__name__
    return judge(
        answer,
        [
            Case(([-3.0, 3.0], 1.0), [-2.0, 2.0], "What is large comes closer to 0 by the "
                 "threshold, from both sides."),
            Case(([-0.5, 0.0, 0.5], 1.0), [0.0, 0.0, 0.0], "What is small becomes 0."),
        ],
    )  # fmt: skip
