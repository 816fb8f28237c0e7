"""Checks of lesson 6."""

import numpy as np

from checks.judge import Case, judge


def check_adaptive_pool(pool):
    """`pool(x, n)` is `torch.nn.AdaptiveAvgPool2d(n)` of one channel."""
    square, wide = np.arange(16.0).reshape(4, 4), np.arange(15.0).reshape(3, 5)
    return judge(
        pool,
        [
            Case((square, 1), [[7.5]], "One part is the whole: the mean of everything."),
            Case((square, 2), [[2.5, 4.5], [10.5, 12.5]], "Four parts of 2 × 2 each."),
            Case((wide, 2), [[3.5, 5.5], [8.5, 10.5]], "Neighbouring parts may share a pixel: "
                 "look at the rounding down and up."),
        ],
    )  # fmt: skip


def check_relative_cost(cost):
    """`cost(size, full)`: pixels over pixels."""
    return judge(
        cost,
        [
            Case((32, 32), 1.0, "The same size costs the same."),
            Case((16, 32), 0.25, "How many pixels has each?"),
            Case((128, 224), 0.326531, "It is a square, not a line.", 1e-4),
        ],
    )


def check_relative_cost_of_plan(cost):
    """`cost(epochs_by_size, full)`: the mean over the epochs."""
    return judge(
        cost,
        [
            Case(({32: 5}, 32), 1.0, "A plan at the full size costs 1."),
            Case(({16: 1, 32: 1}, 32), 0.625, "The mean over the epochs."),
            Case(({16: 3, 32: 1}, 32), 0.4375, "Weigh each size by its epochs."),
            Case(({128: 18, 224: 23, 288: 4}, 224), 0.78866, "fast.ai's plan: a size may be "
                 "above the full one too.", 1e-3),
        ],
    )  # fmt: skip
