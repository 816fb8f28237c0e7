"""Keras callbacks: schedules, averages of the weights, the clock, checkpoints to go on from."""

from keras_dawn.callbacks.averaging import (
    ExponentialMovingAverage,
    Lookahead,
    StochasticWeightAveraging,
)
from keras_dawn.callbacks.layer_statistics import LayerStatistics
from keras_dawn.callbacks.one_cycle import OneCycle, OneCycleSchedule
from keras_dawn.callbacks.parameter_schedule import ParameterSchedule
from keras_dawn.callbacks.resume import ResumeTraining
from keras_dawn.callbacks.snapshots import Snapshots
from keras_dawn.callbacks.time_to_accuracy import TimeToAccuracy

__all__ = [
    "ExponentialMovingAverage",
    "LayerStatistics",
    "Lookahead",
    "OneCycle",
    "OneCycleSchedule",
    "ParameterSchedule",
    "ResumeTraining",
    "Snapshots",
    "StochasticWeightAveraging",
    "TimeToAccuracy",
]
