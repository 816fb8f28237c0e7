"""Keras callbacks: averages of the weights, snapshots of them, what happens inside the layers."""

from keras_dawn.callbacks.averaging import (
    ExponentialMovingAverage,
    Lookahead,
    StochasticWeightAveraging,
)
from keras_dawn.callbacks.layer_statistics import LayerStatistics
from keras_dawn.callbacks.snapshots import Snapshots

__all__ = [
    "ExponentialMovingAverage",
    "LayerStatistics",
    "Lookahead",
    "Snapshots",
    "StochasticWeightAveraging",
]
