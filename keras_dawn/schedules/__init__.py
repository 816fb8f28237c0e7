"""How hyper-parameters change: curves of progress, callbacks that place them, the range test."""

from keras_dawn.schedules.curves import (
    Curve,
    combine,
    constant,
    cosine,
    exponential,
    flat_cosine,
    in_turn,
    linear,
    piecewise_linear,
    polynomial,
    steps,
    warm_up,
)
from keras_dawn.schedules.cyclical_curves import (
    cosine_restarts,
    exp_range,
    restart_ends,
    triangular,
    triangular2,
)
from keras_dawn.schedules.finder import find_learning_rate, try_values
from keras_dawn.schedules.one_cycle import OneCycle, OneCycleSchedule
from keras_dawn.schedules.one_cycle_shapes import OneCycleShape, one_cycle
from keras_dawn.schedules.parameter_schedule import ParameterSchedule
from keras_dawn.schedules.range_test import RangeTest, Sweep

__all__ = [
    "Curve",
    "OneCycle",
    "OneCycleSchedule",
    "OneCycleShape",
    "ParameterSchedule",
    "RangeTest",
    "Sweep",
    "combine",
    "constant",
    "cosine",
    "cosine_restarts",
    "exp_range",
    "exponential",
    "find_learning_rate",
    "flat_cosine",
    "in_turn",
    "linear",
    "one_cycle",
    "piecewise_linear",
    "polynomial",
    "restart_ends",
    "steps",
    "triangular",
    "triangular2",
    "try_values",
    "warm_up",
]
