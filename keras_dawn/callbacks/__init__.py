"""Keras callbacks: schedules of hyper-parameters, the clock, checkpoints to go on from."""

from keras_dawn.callbacks.one_cycle import OneCycle, OneCycleSchedule
from keras_dawn.callbacks.parameter_schedule import ParameterSchedule
from keras_dawn.callbacks.resume import ResumeTraining
from keras_dawn.callbacks.time_to_accuracy import TimeToAccuracy

__all__ = [
    "OneCycle",
    "OneCycleSchedule",
    "ParameterSchedule",
    "ResumeTraining",
    "TimeToAccuracy",
]
