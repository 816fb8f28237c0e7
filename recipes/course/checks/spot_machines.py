"""Checks of lesson 10."""

import math

from checks.judge import Case, judge


def check_best_interval(interval):
    """`interval(save_seconds, mean_seconds)` is Young's."""
    return judge(
        interval,
        [
            Case((2.0, 100.0), 20.0, "Where is the derivative of d/c + c/(2M) zero?"),
            Case((8.0, 100.0), 40.0, "A save that takes four times as long: how much rarer?"),
            Case((2.0, 18000.0), 268.3281573, "What goes under the root?"),
        ],
    )


def check_cost_without_checkpoints(cost):
    """`cost(hours, mean_hours, usd_per_hour)` of a training that begins again each time."""
    return judge(
        cost,
        [
            Case((5.0, 5.0, 1.0), 5.0 * (math.e - 1), "First the hours, then the price."),
            Case((5.0, 5.0, 8.45), 42.25 * (math.e - 1), "Is the price in it?"),
            Case((1.0, 1e6, 3.0), 3.0, "If it is never evicted, it costs its own time.", 1e-4),
        ],
    )
