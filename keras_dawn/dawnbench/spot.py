"""What a training costs on machines that can be taken away."""

import math
from dataclasses import dataclass

from keras_dawn.dawnbench.prices import check_price


@dataclass(frozen=True)
class SpotCost:
    """What to expect of a training on spot machines.

    Args:
        hours: float, expected hours that are paid.
        usd: float, expected cost.
        interruptions: float, expected number.
    """

    hours: float
    usd: float
    interruptions: float


def expected_spot_cost(
    hours,
    price_per_hour,
    mean_hours_between_interruptions,
    restart_minutes=5.0,
    checkpoint_seconds=600.0,
):
    """The expected time and cost of a training that is interrupted and goes on.

    Interruptions come at random with a constant rate (exponential times between them); what
    was done since the last checkpoint is done again, after a restart that is paid. A stretch
    of work of length c between two checkpoints then takes on average

        (M + R) (exp(c / M) - 1)

    with M the mean time between interruptions and R the restart (Daly 2006, "A higher order
    estimate of the optimum checkpoint interval for restart dumps", without interruptions of
    the restart itself). Waiting for a new machine is not paid and not counted.

    Args:
        hours: float above 0, training without interruptions.
        price_per_hour: float from 0 up, USD for all machines together.
        mean_hours_between_interruptions: float above 0, of all machines together: with n
            machines that are taken away one by one, an n-th of one's.
        restart_minutes: float from 0 up, from an interruption to the first step, paid.
        checkpoint_seconds: float above 0, work between two checkpoints.

    Returns:
        `SpotCost`.

    Raises:
        ValueError: a number out of its range.

    Example:
        >>> cost = expected_spot_cost(3.0, 8.45, mean_hours_between_interruptions=6.0)
        >>> round(cost.hours, 2), round(cost.usd, 2)
        (3.08, 26.06)
    """
    check_price(price_per_hour)
    for name, value, low in (
        ("hours", hours, 0),
        ("mean_hours_between_interruptions", mean_hours_between_interruptions, 0),
        ("checkpoint_seconds", checkpoint_seconds, 0),
    ):
        if not value > low:
            raise ValueError(f"`{name}` must be above {low}, got {value}.")
    if not restart_minutes >= 0:
        raise ValueError(f"`restart_minutes` must be 0 or more, got {restart_minutes}.")
    mean, restart = mean_hours_between_interruptions, restart_minutes / 60
    # A training that is shorter than the time between checkpoints is one stretch.
    stretch = min(checkpoint_seconds / 3600, hours)
    stretches = hours / stretch
    # Expected interruptions in a stretch; expm1, since exp(x) − 1 loses digits where x is small.
    again = math.expm1(stretch / mean)
    expected = stretches * (mean + restart) * again
    return SpotCost(expected, expected * price_per_hour, stretches * again)
