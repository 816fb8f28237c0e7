"""Keras's losses of numbers written in torch, one value for each item, with Keras's own numerics.

Arguments are those of the Keras functions of the same names; see `loss_values`.
"""

from keras_dawn.foundation.precision import HALF
from keras_dawn.native.steps.loss_targets import paired, whole_axis
from keras_dawn.native.steps.weighing import on_device
from keras_dawn.native.unit_vectors import of_length_one

import keras
import torch
import torch.nn.functional as F


def mean_squared_error(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return (targets - outputs).square().mean(-1)


def mean_absolute_error(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return (targets - outputs).abs().mean(-1)


def mean_absolute_percentage_error(targets, outputs):
    targets, outputs = paired(targets, outputs)
    part = (targets - outputs) / targets.abs().clamp_min(keras.config.epsilon())
    return 100.0 * part.abs().mean(-1)


def mean_squared_logarithmic_error(targets, outputs):
    targets, outputs = paired(targets, outputs)
    if outputs.dtype in HALF:  # Keras's epsilon makes them wide
        targets, outputs = targets.float(), outputs.float()
    epsilon = keras.config.epsilon()
    one, other = (torch.log(part.clamp_min(epsilon) + 1.0) for part in (outputs, targets))
    return (one - other).square().mean(-1)


def cosine_similarity(targets, outputs, axis=-1):
    targets, outputs = paired(targets, outputs)
    axis = whole_axis(axis)
    return -(of_length_one(targets, axis) * of_length_one(outputs, axis)).sum(axis)


def huber(targets, outputs, delta=1.0):
    targets, outputs = paired(targets, outputs)
    error = outputs - targets
    size = error.abs()
    # Not `F.huber_loss`, which rounds otherwise than Keras's formula.
    linear = delta * size - 0.5 * delta**2
    return torch.where(size <= delta, 0.5 * error.square(), linear).mean(-1)


def log_cosh(targets, outputs):
    targets, outputs = paired(targets, outputs)
    error = outputs - targets
    # In the error's dtype, as Keras computes it: Python's constant is rounded otherwise.
    log_2 = torch.log(error.new_full((), 2.0))
    # log(cosh(x)) = x + log(1 + exp(−2x)) − log(2), which does not overflow.
    return (error + F.softplus(error * -2.0) - log_2).mean(-1)


def hinge(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return _positive(1.0 - _signs(targets) * outputs).mean(-1)


def squared_hinge(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return _positive(1.0 - _signs(targets) * outputs).square().mean(-1)


def categorical_hinge(targets, outputs):
    targets, outputs = paired(targets, outputs)
    positive = (targets * outputs).sum(-1)
    negative = ((1.0 - targets) * outputs).amax(-1)
    return _positive(negative - positive + 1.0)


def _positive(values):
    """Values from 0 up; at 0 itself half a gradient, as in Keras, where a clamp has none."""
    return torch.maximum(values, values.new_zeros(()))


def _signs(targets):
    """Labels of 0 and 1 as −1 and 1; others as they are."""
    # On the device: to ask whether the labels are binary would wait for it.
    binary = ((targets == 0) | (targets == 1)).all()
    return torch.where(binary, 2.0 * targets - 1.0, targets)


def kl_divergence(targets, outputs):
    targets, outputs = paired(targets, outputs)
    # Tensors: at such ends themselves torch has half a gradient, at numbers none.
    ends = on_device((keras.config.epsilon(), 1.0), outputs.dtype, outputs.device)
    targets, outputs = (part.clip(*ends) for part in (targets, outputs))
    return (targets * torch.log(targets / outputs)).sum(-1)


def poisson(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return (outputs - targets * torch.log(outputs + keras.config.epsilon())).mean(-1)
