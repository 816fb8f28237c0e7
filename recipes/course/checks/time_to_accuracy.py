"""Checks of lesson 1."""

import math

import numpy as np

from checks.judge import Case, judge


def check_time_to_accuracy(time):
    """`time(hours, accuracies, threshold)` is the first row's at or above it, or `None`."""
    hours = [0.1, 0.2, 0.3, 0.4]

    def hours_or_never(*arguments):
        found = time(*arguments)
        never = found is None and max(arguments[1]) < arguments[2]
        return math.inf if never else found

    hours_or_never.__name__ = time.__name__
    return judge(
        hours_or_never,
        [
            Case((hours, [50, 90, 95, 96], 94), 0.3, "Which row is the first at the threshold?"),
            Case((hours, [50, 94, 93, 96], 94), 0.2, "Reaching it exactly counts; falling below "
                 "it afterwards does not matter."),
            Case((hours, [50, 90, 91, 92], 94), math.inf, "If no row reaches it: `None`."),
        ],
    )  # fmt: skip


def check_training_clock(clock):
    """`clock(wall, validation)`: the wall clock less all validations so far."""
    return judge(
        clock,
        [
            Case((np.array([10.0]), np.array([2.0])), [8.0], "After one epoch: the difference."),
            Case(
                (np.array([10.0, 20.0, 30.0]), np.array([2.0, 2.0, 2.0])),
                [8.0, 16.0, 24.0],
                "In the third epoch, how many validations have passed?",
            ),
        ],
    )


def check_cost(cost):
    """`cost(seconds, usd_per_hour, machines=1)`."""
    return judge(
        cost,
        [
            Case((3600, 2.30), 2.30, "An hour costs the price of an hour."),
            Case((404.08, 2.30), 0.258162, "How many hours are so many seconds?", 1e-4),
            Case((1085, 24.48, 16), 118.0480, "The price is one machine's.", 1e-4),
        ],
    )
