"""Training on several processes, one a device, through `torch.distributed`."""

from keras_dawn.distributed.batch_norm import synchronize_batch_normalization
from keras_dawn.distributed.collectives import main_first
from keras_dawn.distributed.launch import launch
from keras_dawn.distributed.ranks import Ranks, current, distribute
from keras_dawn.distributed.scaling import StepTimeModel, scale_learning_rate

__all__ = [
    "Ranks",
    "StepTimeModel",
    "current",
    "distribute",
    "launch",
    "main_first",
    "scale_learning_rate",
    "synchronize_batch_normalization",
]
