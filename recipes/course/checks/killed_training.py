"""Checks of lesson 15."""

import numpy as np

from checks.judge import Case, judge


def check_order(order):
    """`order(seed, epoch, count)` is a shuffled order, and a function of its arguments alone."""

    def answer(seed, epoch, count):
        before = np.random.get_state()[1].copy()
        given = order(seed, epoch, count)
        if given is None or given is Ellipsis:
            return None
        again, next_one, other_seed = (
            np.asarray(order(*arguments))
            for arguments in (
                (seed, epoch, count),
                (seed, epoch + 1, count),
                (seed + 1, epoch, count),
            )
        )
        given = np.asarray(given)
        return [
            np.array_equal(np.sort(given), np.arange(count)),
            np.array_equal(given, again),
            not np.array_equal(given, next_one) and not np.array_equal(given, other_seed),
            np.array_equal(before, np.random.get_state()[1]),
        ]

    answer.__name__ = order.__name__
    hint = (
        "Each place once; the same when asked again; another one in the next epoch and for another "
        "seed; and NumPy's global generator is left alone: np.random.default_rng takes a list."
    )
    return judge(answer, [Case((0, 3, 100), [True] * 4, hint)])


def check_batches_left(batches_left):
    """`batches_left(order, step, batch_size)`: what the epoch still serves."""

    def answer(order, step, batch_size):
        given = batches_left(np.array(order), step, batch_size)
        if given is None or given is Ellipsis:
            return None
        return [list(map(int, batch)) for batch in given]

    answer.__name__ = batches_left.__name__
    return judge(
        answer,
        [
            Case(([4, 2, 0, 3], 0, 2), [[4, 2], [0, 3]], "Nothing is done yet."),
            Case(([4, 2, 0, 3, 1], 1, 2), [[0, 3], [1]], "One batch is done; the last one may be "
                 "smaller."),
            Case(([4, 2, 0, 3, 1], 3, 2), [], "After three batches of two nothing is left."),
        ],
        lambda answer, expected, tolerance: answer == expected,
    )  # fmt: skip
