"""The native engine: a Keras model's step as straight PyTorch."""

from keras_dawn.native.accelerate import accelerate, restore
from keras_dawn.native.explain import explain
from keras_dawn.native.lowering import to_torch
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError

__all__ = ["LoweringError", "accelerate", "explain", "restore", "rule", "to_torch"]
