from keras_dawn.dawnbench import expected_spot_cost

import numpy as np
import pytest


def simulate(hours, mean, restart_minutes, checkpoint_seconds, runs, seed=0):
    """Mean hours and interruptions of trainings played through step by step."""
    random = np.random.default_rng(seed)
    stretch, restart = checkpoint_seconds / 3600, restart_minutes / 60
    spent, interruptions = np.zeros(runs), np.zeros(runs)
    for run in range(runs):
        for _ in range(round(hours / stretch)):
            while True:
                until = random.exponential(mean)
                if until >= stretch:
                    spent[run] += stretch
                    break
                spent[run] += until + restart
                interruptions[run] += 1
    return spent.mean(), interruptions.mean()


@pytest.mark.parametrize(
    "hours, mean, restart_minutes, checkpoint_seconds",
    [(3.0, 2.0, 10.0, 900.0), (10.0, 5.0, 0.0, 3600.0), (2.0, 1.0, 30.0, 600.0)],
)
def test_the_formula_agrees_with_a_simulation(hours, mean, restart_minutes, checkpoint_seconds):
    cost = expected_spot_cost(hours, 2.0, mean, restart_minutes, checkpoint_seconds)
    spent, interruptions = simulate(hours, mean, restart_minutes, checkpoint_seconds, 4000)
    assert cost.hours == pytest.approx(spent, rel=0.02)
    assert cost.interruptions == pytest.approx(interruptions, rel=0.04)
    assert cost.usd == pytest.approx(2.0 * cost.hours)


def test_without_interruptions_a_training_costs_its_time():
    cost = expected_spot_cost(3.0, 10.0, mean_hours_between_interruptions=1e9)
    assert cost.hours == pytest.approx(3.0) and cost.usd == pytest.approx(30.0)


@pytest.mark.parametrize(
    "changes",
    [{"hours": 0}, {"price_per_hour": -1}, {"mean_hours_between_interruptions": 0},
     {"restart_minutes": -1}, {"checkpoint_seconds": 0}],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(changes):
    good = {"hours": 1, "price_per_hour": 1, "mean_hours_between_interruptions": 1}
    with pytest.raises(ValueError, match="or more|above"):
        expected_spot_cost(**{**good, **changes})
