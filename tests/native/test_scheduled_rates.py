"""Keras's schedule objects as fused steps evaluate them: bit for bit Keras's numbers."""

from keras_dawn.native.steps.updates.schedules import ScheduledRate

import keras
import pytest
import torch
from keras.optimizers import schedules

SCHEDULES = {
    "exponential": lambda: schedules.ExponentialDecay(0.13, 7, 0.83),
    "stairs": lambda: schedules.ExponentialDecay(0.13, 7, 0.83, staircase=True),
    "inverse": lambda: schedules.InverseTimeDecay(0.13, 7, 0.83),
    "inverse stairs": lambda: schedules.InverseTimeDecay(0.13, 7.5, 0.83, staircase=True),
    "pieces": lambda: schedules.PiecewiseConstantDecay([5, 9, 40], [0.3, 0.2, 0.1, 0.7]),
    "two pieces": lambda: schedules.PiecewiseConstantDecay([5.5], [0.3, 0.2]),
    "polynomial": lambda: schedules.PolynomialDecay(0.13, 37, 0.003, power=1.7),
    "line": lambda: schedules.PolynomialDecay(0.13, 37),
    "cycles": lambda: schedules.PolynomialDecay(0.13, 7, 0.003, power=0.5, cycle=True),
    "cosine": lambda: schedules.CosineDecay(0.13, 37, alpha=0.07),
    "warmed up": lambda: schedules.CosineDecay(
        0.01, 37, alpha=0.07, warmup_target=0.3, warmup_steps=11
    ),
    "restarts": lambda: schedules.CosineDecayRestarts(0.13, 7, t_mul=1.7, m_mul=0.9, alpha=0.07),
    "equal restarts": lambda: schedules.CosineDecayRestarts(0.13, 7, t_mul=1.0, m_mul=0.5),
}


def made(rate):
    optimizer = keras.optimizers.SGD(rate)
    optimizer.build([keras.Variable([1.0, 2.0])])
    return optimizer


def rates(optimizer, steps=range(60)):
    """`(ours, Keras's)` for each number of steps taken."""
    scheduled = ScheduledRate(optimizer)
    for step in steps:
        optimizer.variables[0].assign(step)
        yield scheduled(), optimizer.learning_rate


@pytest.mark.parametrize("floatx", ["float32", "float64"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_every_bit_is_keras_s(name, floatx, request):
    if floatx == "float64":
        request.getfixturevalue("true_float64")
    for ours, theirs in rates(made(SCHEDULES[name]())):
        assert ours.dtype == theirs.dtype == getattr(torch, floatx)
        assert ours.item() == theirs.item()


def test_every_schedule_of_keras_s_is_known():
    exported = {type(make()).__name__ for make in SCHEDULES.values()} | {"LearningRateSchedule"}
    known = {name for name in dir(schedules) if isinstance(getattr(schedules, name), type)}
    assert known == exported


@pytest.mark.parametrize(
    ("schedule", "name", "value"),
    [
        (schedules.CosineDecay(0.1, 20), "decay_steps", 9),
        (schedules.PiecewiseConstantDecay([2], [0.2, 0.1]), "values", [0.3, 0.4]),
    ],
)
def test_a_setting_that_is_changed_counts(schedule, name, value):
    optimizer = made(schedule)
    scheduled = ScheduledRate(optimizer)
    before = scheduled().item()
    optimizer.variables[0].assign(5)
    setattr(schedule, name, value)
    assert scheduled().item() == optimizer.learning_rate.item() != before
    if name == "values":
        schedule.values[1] = 0.5
        assert scheduled().item() == 0.5


class Own(schedules.CosineDecay):
    def __call__(self, step):
        return 0.5


@pytest.mark.parametrize(
    "rate",
    [
        0.1,
        lambda: 0.1,
        Own(0.1, 3),
        schedules.CosineDecay(keras.Variable(0.1), 3),
        schedules.CosineDecay(1, 3),
        schedules.PiecewiseConstantDecay([9, 5], [0.3, 0.2, 0.1]),
    ],
    ids=["number", "function", "own", "variable", "whole number", "disorder"],
)
def test_what_is_not_known_is_left_to_keras(rate):
    assert ScheduledRate(made(rate))() is None
