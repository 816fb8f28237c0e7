"""Keras models trained at native PyTorch speed, judged by the clock and the bill.

import keras_dawn
from keras_dawn import OneCycle

model.fit(x, y, epochs=3, callbacks=[OneCycle()])
"""

from keras_dawn._backend import select_torch_backend
from keras_dawn.foundation.device import choose_device

select_torch_backend()  # before anything imports Keras
choose_device()

from keras_dawn import (
    callbacks,
    convolutions,
    data,
    dawnbench,
    distributed,
    evaluation,
    models,
    optimizers,
    plans,
    plots,
    schedules,
)
from keras_dawn._version import __version__
from keras_dawn.dawnbench.clock import TrainingClock
from keras_dawn.dawnbench.time_to_accuracy import TimeToAccuracy
from keras_dawn.distributed import distribute
from keras_dawn.evaluation import evaluate_tta, predict_tta
from keras_dawn.foundation import precision
from keras_dawn.native import LoweringError, accelerate, explain, restore, rule, to_torch
from keras_dawn.optimizers import SGD
from keras_dawn.plans import (
    PLANS,
    LayerGroups,
    Phase,
    TrainingPlan,
    fine_tune,
    fit_plan,
    one_cycle_by_size,
)
from keras_dawn.resume import ResumeTraining
from keras_dawn.schedules import (
    OneCycle,
    OneCycleSchedule,
    OneCycleShape,
    ParameterSchedule,
    find_learning_rate,
)

__all__ = [
    "PLANS",
    "SGD",
    "LayerGroups",
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
    "callbacks",
    "convolutions",
    "data",
    "dawnbench",
    "distribute",
    "distributed",
    "evaluate_tta",
    "evaluation",
    "explain",
    "find_learning_rate",
    "fine_tune",
    "fit_plan",
    "models",
    "one_cycle_by_size",
    "optimizers",
    "plans",
    "plots",
    "precision",
    "predict_tta",
    "restore",
    "rule",
    "schedules",
    "to_torch",
]
