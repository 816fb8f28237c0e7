"""Trainings planned as a whole, in phases, and how they are run."""

from keras_dawn.plans.fine_tuning import fine_tune
from keras_dawn.plans.layer_groups import LayerGroups
from keras_dawn.plans.phase import Crops, Phase, PhaseCost, Validation
from keras_dawn.plans.plan import TrainingPlan
from keras_dawn.plans.published import PLANS, one_cycle_by_size
from keras_dawn.plans.training import fit_plan

__all__ = [
    "PLANS",
    "Crops",
    "LayerGroups",
    "Phase",
    "PhaseCost",
    "TrainingPlan",
    "Validation",
    "fine_tune",
    "fit_plan",
    "one_cycle_by_size",
]
