"""Optimizers that Keras lacks or has in another form."""

from keras_dawn.optimizers.lars import LARS
from keras_dawn.optimizers.layerwise import layerwise
from keras_dawn.optimizers.muon import Muon
from keras_dawn.optimizers.sgd import SGD

__all__ = ["LARS", "SGD", "Muon", "layerwise"]
