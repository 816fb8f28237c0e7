"""Keras models trained at native PyTorch speed, judged by the clock and the bill.

import keras_dawn
from keras_dawn import OneCycle

model.fit(x, y, epochs=3, callbacks=[OneCycle()])
"""

from keras_dawn._backend import select_torch_backend

select_torch_backend()  # before anything imports Keras

from keras_dawn import data, dawnbench, distributed, models, precision, schedules
from keras_dawn._version import __version__
from keras_dawn.callbacks import OneCycle, OneCycleSchedule, ParameterSchedule, TimeToAccuracy
from keras_dawn.clock import TrainingClock
from keras_dawn.distributed import distribute
from keras_dawn.native import LoweringError, accelerate, explain, restore, rule, to_torch
from keras_dawn.one_cycle_curves import OneCycleShape
from keras_dawn.optimizers import SGD

__all__ = [
    "SGD",
    "LoweringError",
    "OneCycle",
    "OneCycleSchedule",
    "OneCycleShape",
    "ParameterSchedule",
    "TimeToAccuracy",
    "TrainingClock",
    "__version__",
    "accelerate",
    "data",
    "dawnbench",
    "distribute",
    "distributed",
    "explain",
    "models",
    "precision",
    "restore",
    "rule",
    "schedules",
    "to_torch",
]
