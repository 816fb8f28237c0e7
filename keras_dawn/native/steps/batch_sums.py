"""Metrics that are means, added up over a batch in few operations of torch.

Each function takes targets, outputs and the settings of a Keras metric function, and returns the
sum over the batch of what that gives for each sample, or `None` where the values of the items have
to be computed one by one: `metric_values` has them all.
"""

import functools

from keras_dawn.native.steps.loss_targets import class_numbers, paired, same_rank

import keras
import numpy as np
import torch

_SUM = 2  # as torch's losses call that way of reduction


def _mean_absolute_error(targets, outputs):
    return _of_differences(torch._C._nn.l1_loss, targets, outputs)


def _mean_squared_error(targets, outputs):
    return _of_differences(torch._C._nn.mse_loss, targets, outputs)


def _of_differences(difference, targets, outputs):
    if outputs.ndim < 2:
        return None
    targets, outputs = paired(targets, outputs)
    return _means(difference(outputs, targets, _SUM), outputs)


def _binary_accuracy(targets, outputs, threshold=0.5):
    targets, outputs = same_rank(targets, outputs)
    if targets.shape != outputs.shape or outputs.ndim < 2 or type(threshold) not in (int, float):
        return None
    hits = (outputs > rounded(threshold, keras.config.floatx())) == targets
    return _means(hits.sum(dtype=outputs.dtype), outputs)


@functools.lru_cache(64)
def rounded(threshold, dtype):
    """A threshold as Keras rounds it."""
    return float(np.dtype(dtype).type(threshold))


def _sparse_categorical_accuracy(targets, outputs):
    if outputs.ndim != 2 or targets.is_floating_point():
        return None
    return (outputs.argmax(-1) == class_numbers(targets, outputs)).sum(dtype=outputs.dtype)


def _means(total, values):
    """The sum over the batch of each sample's mean, of the sum of all values."""
    samples, count = len(values), values.numel()
    return total if samples == count else total * (samples / count)


SUM_OF = {
    keras.losses.mean_absolute_error: _mean_absolute_error,
    keras.losses.mean_squared_error: _mean_squared_error,
    keras.metrics.binary_accuracy: _binary_accuracy,
    keras.metrics.sparse_categorical_accuracy: _sparse_categorical_accuracy,
}
