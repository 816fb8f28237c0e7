"""From Keras layers to torch: the walk over a graph, and one small rule a layer."""

from keras_dawn.native.lowering.walk import Lowered, lower, lower_layer, to_torch

__all__ = ["Lowered", "lower", "lower_layer", "to_torch"]
