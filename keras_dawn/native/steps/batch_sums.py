"""Metrics that are means, added up over a batch in few operations of torch.

Each function takes the targets and outputs of one batch and the settings of a Keras metric
function. It returns a function `(targets, outputs) -> sum` for batches of these shapes and dtypes:
the sum over the batch of what Keras's gives for each sample. Or `None`, where the values of the
items have to be computed one by one: `metric_values` has them all.
"""

import functools

import keras
import numpy as np
import torch

_SUM = 2  # as torch's losses call that way of reduction


def _mean_absolute_error(targets, outputs):
    return _of_differences(torch._C._nn.l1_loss, targets, outputs)


def _mean_squared_error(targets, outputs):
    return _of_differences(torch._C._nn.mse_loss, targets, outputs)


def _of_differences(difference, targets, outputs):
    if not _are_alike(targets, outputs):
        return None
    return _means(lambda y, found: difference(found, y, _SUM), outputs)


def _binary_accuracy(targets, outputs, threshold=0.5):
    if targets.shape != outputs.shape or outputs.ndim < 2 or type(threshold) not in (int, float):
        return None

    def hits(y, found):
        over = found > rounded(threshold, keras.config.floatx())
        return (over == y).sum()

    return _means(hits, outputs)


@functools.lru_cache(64)
def rounded(threshold, dtype):
    """A threshold as Keras rounds it."""
    return float(np.dtype(dtype).type(threshold))


def _sparse_categorical_accuracy(targets, outputs):
    if outputs.ndim != 2 or outputs.shape[1] == 1 or targets.is_floating_point():
        return None
    if targets.shape == outputs.shape[:1]:
        return lambda y, found: (found.argmax(1) == y).sum()
    if targets.shape == (len(outputs), 1):
        return lambda y, found: (found.argmax(1, True) == y).sum()
    return None


def _are_alike(targets, outputs):
    return targets.shape == outputs.shape and targets.dtype == outputs.dtype and outputs.ndim > 1


def _means(total, outputs):
    """The sum over the batch of each sample's mean, where `total` sums up all values."""
    factor = len(outputs) / outputs.numel()
    return total if factor == 1 else lambda y, found: total(y, found).to(found.dtype) * factor


SUM_OF = {
    keras.losses.mean_absolute_error: _mean_absolute_error,
    keras.losses.mean_squared_error: _mean_squared_error,
    keras.metrics.binary_accuracy: _binary_accuracy,
    keras.metrics.sparse_categorical_accuracy: _sparse_categorical_accuracy,
}
