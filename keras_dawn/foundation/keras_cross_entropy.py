"""Keras's cross-entropy of two classes, computed by another function for a while."""

import contextlib
import threading

import keras
import torch
from keras.src.backend.torch import nn as keras_nn

_KERAS_FUNCTION = keras_nn.binary_crossentropy


@contextlib.contextmanager
def of_probabilities_by(function):
    """Inside, `keras.losses.binary_crossentropy` and its like compute by a function on a CPU.

    In this thread; others get Keras's own.

    Args:
        function: of probabilities and targets, tensors of one shape; their cross-entropies.
    """

    thread = threading.get_ident()

    def binary_crossentropy(target, output, from_logits=False):
        if threading.get_ident() != thread:
            return _KERAS_FUNCTION(target, output, from_logits=from_logits)
        tensors = type(output) is torch.Tensor and isinstance(target, torch.Tensor)
        if from_logits or not tensors or not output.is_cpu or target.shape != output.shape:
            return _KERAS_FUNCTION(target, output, from_logits=from_logits)
        epsilon = keras.config.epsilon()
        return function(torch.clip(output, epsilon, 1.0 - epsilon), target)

    if keras_nn.binary_crossentropy is not _KERAS_FUNCTION:  # another's, or an outer step's
        yield
        return
    keras_nn.binary_crossentropy = binary_crossentropy
    try:
        yield
    finally:
        # Keras's own, never what was there before: steps of several threads end in any order.
        keras_nn.binary_crossentropy = _KERAS_FUNCTION
