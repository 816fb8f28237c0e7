"""From Keras layers to torch: the walk over a graph, and one small rule a layer."""

from keras_dawn.native.lowering.lower import lower, lower_layer, to_torch
from keras_dawn.native.lowering.lowered import Lowered
from keras_dawn.native.lowering.own_calls import why_not_combined

__all__ = ["Lowered", "lower", "lower_layer", "to_torch", "why_not_combined"]
