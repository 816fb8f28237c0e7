"""Means over a batch that one function of torch computes, in place of one value for each item.

Each takes targets, outputs and the settings of a Keras loss, and returns the mean, or `None` where
the values of the items have to be computed one by one.
"""

from keras_dawn.native.steps.class_losses import of_two_classes
from keras_dawn.native.steps.loss_targets import (
    class_numbers,
    one_hot,
    paired,
    smoothed_between_two,
)

import keras
import torch
import torch.nn.functional as F


def _of_classes(targets, outputs, from_logits=False, ignore_class=None, axis=-1):
    """A sum divided by the batch: torch's own mean leaves out labels of −100, Keras's does not."""
    if not from_logits or ignore_class is not None or axis != -1 or outputs.ndim != 2:
        return None
    targets = class_numbers(targets, outputs)
    return F.cross_entropy(outputs, targets, reduction="sum") / len(targets)


def _of_one_hot(targets, outputs, from_logits=False, label_smoothing=0.0, axis=-1):
    if not from_logits or axis != -1 or outputs.ndim != 2:
        return None
    return F.cross_entropy(outputs, one_hot(targets, outputs, label_smoothing)[0])


def _of_two_classes(targets, outputs, from_logits=False, label_smoothing=0.0, axis=-1):
    if axis != -1:  # there may be none such
        return None
    targets, outputs = paired(targets, outputs)
    targets = smoothed_between_two(targets, label_smoothing)
    return of_two_classes(targets, outputs, from_logits, "mean")


def _mean_squared_error(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return torch._C._nn.mse_loss(outputs, targets, _MEAN)


def _mean_absolute_error(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return torch._C._nn.l1_loss(outputs, targets, _MEAN)


_MEAN = 1  # what torch calls that way of reduction, past a look at shapes, which are the same here

MEAN_OF = {
    keras.losses.sparse_categorical_crossentropy: _of_classes,
    keras.losses.categorical_crossentropy: _of_one_hot,
    keras.losses.binary_crossentropy: _of_two_classes,
    keras.losses.mean_squared_error: _mean_squared_error,
    keras.losses.mean_absolute_error: _mean_absolute_error,
}
