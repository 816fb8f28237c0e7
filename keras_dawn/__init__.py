"""Keras models trained at native PyTorch speed, judged by the clock and the bill.

import keras_dawn
from keras_dawn import OneCycle

model.fit(x, y, epochs=3, callbacks=[OneCycle()])
"""

from keras_dawn._backend import select_torch_backend

select_torch_backend()  # before anything imports Keras

from keras_dawn import data, dawnbench, distributed, models, optimizers, precision, schedules
from keras_dawn._version import __version__
from keras_dawn.callbacks import (
    OneCycle,
    OneCycleSchedule,
    ParameterSchedule,
    ResumeTraining,
    TimeToAccuracy,
)
from keras_dawn.clock import TrainingClock
from keras_dawn.distributed import distribute
from keras_dawn.finder import find_learning_rate
from keras_dawn.native import LoweringError, accelerate, explain, restore, rule, to_torch
from keras_dawn.one_cycle_curves import OneCycleShape
from keras_dawn.optimizers import SGD
from keras_dawn.plan import Phase, TrainingPlan
from keras_dawn.plan_training import fit_plan
from keras_dawn.plans import PLANS, one_cycle_by_size
from keras_dawn.tta import evaluate_tta, predict_tta

__all__ = [
    "PLANS",
    "SGD",
    "LoweringError",
    "OneCycle",
    "OneCycleSchedule",
    "OneCycleShape",
    "ParameterSchedule",
    "Phase",
    "ResumeTraining",
    "TimeToAccuracy",
    "TrainingClock",
    "TrainingPlan",
    "__version__",
    "accelerate",
    "data",
    "dawnbench",
    "distribute",
    "distributed",
    "evaluate_tta",
    "explain",
    "find_learning_rate",
    "fit_plan",
    "models",
    "one_cycle_by_size",
    "optimizers",
    "precision",
    "predict_tta",
    "restore",
    "rule",
    "schedules",
    "to_torch",
]
