"""Keras's losses of classes written in torch, one value for each item, with Keras's own numerics.

Arguments are those of the Keras functions of the same names; see `loss_values`.
"""

from keras_dawn.foundation import keras_masks, keras_version
from keras_dawn.native.cross_entropy import MANY, of_probabilities
from keras_dawn.native.steps.loss_targets import (
    NotAlikeError,
    class_numbers,
    clipped,
    one_hot,
    paired,
    smoothed_between_two,
    whole_axis,
)
from keras_dawn.native.steps.weighing import on_device

import keras
import numpy as np
import torch
import torch.nn.functional as F


def binary_crossentropy(targets, outputs, from_logits=False, label_smoothing=0.0, axis=-1):
    targets, outputs = paired(targets, outputs)
    targets = smoothed_between_two(targets, label_smoothing)
    return of_two_classes(targets, outputs, from_logits).mean(whole_axis(axis))


def binary_focal_crossentropy(
    targets, outputs, apply_class_balancing=False, alpha=0.25, gamma=2.0, from_logits=False,
    label_smoothing=0.0, axis=-1,
):  # fmt: skip
    targets, outputs = paired(targets, outputs)
    targets = smoothed_between_two(targets, label_smoothing)
    outputs = torch.sigmoid(outputs) if from_logits else outputs
    right = targets * outputs + (1 - targets) * (1 - outputs)
    loss = torch.pow(1.0 - right, gamma) * of_two_classes(targets, outputs, False)
    if apply_class_balancing:
        loss = (targets * alpha + (1 - targets) * (1 - alpha)) * loss
    return loss.mean(whole_axis(axis))


def of_two_classes(targets, outputs, from_logits, reduction="none"):
    """The cross-entropy of each number with its target, by torch's own function."""
    if from_logits:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction=reduction)
    probabilities = clipped(outputs)
    if reduction == "none" or (probabilities.is_cpu and probabilities.numel() >= MANY):
        losses = of_probabilities(probabilities, targets)
        return losses.mean() if reduction == "mean" else losses
    return F.binary_cross_entropy(probabilities, targets, reduction=reduction)


def categorical_crossentropy(targets, outputs, from_logits=False, label_smoothing=0.0, axis=-1):
    targets, outputs = one_hot(targets, outputs, label_smoothing)
    axis = whole_axis(axis)
    if from_logits:
        logarithms = torch.log_softmax(outputs, axis)
    else:
        # As Keras does: probabilities that do not add up to 1 are made to.
        logarithms = torch.log(clipped(outputs / outputs.sum(axis, keepdim=True)))
    return -(targets * logarithms).sum(axis)


def categorical_focal_crossentropy(
    targets, outputs, alpha=0.25, gamma=2.0, from_logits=False, label_smoothing=0.0, axis=-1
):
    targets, outputs = one_hot(targets, outputs, label_smoothing)
    axis = whole_axis(axis)
    outputs = torch.softmax(outputs, axis) if from_logits else outputs
    outputs = clipped(outputs / outputs.sum(axis, keepdim=True))
    if isinstance(alpha, (list, tuple, np.ndarray)):
        alpha = on_device(*_numbers(alpha, outputs.dtype), outputs.device)
    weight = torch.pow(1.0 - outputs, gamma) * alpha
    return (weight * (-targets * torch.log(outputs))).sum(axis)


def _numbers(array, dtype):
    """Nested tuples of an array's numbers, and the dtype in which Keras computes with them."""
    if isinstance(array, np.ndarray) and array.dtype == np.float64:
        dtype = torch.float64
    return _tuples(np.asarray(array).tolist()), dtype


def _tuples(part):
    return tuple(map(_tuples, part)) if isinstance(part, list) else part


def sparse_categorical_crossentropy(
    targets, outputs, from_logits=False, ignore_class=None, axis=-1
):
    axis = whole_axis(axis)
    if ignore_class is None:
        return _of_classes(class_numbers(targets, outputs, axis), outputs, from_logits, axis)
    if targets.ndim == outputs.ndim and targets.shape[axis] == 1:
        targets = targets.squeeze(axis)
    valid = targets.to(outputs.dtype) != ignore_class
    targets = class_numbers(torch.where(valid, targets, 0), outputs, axis)
    # Before the logarithm: an infinite loss times 0 would be NaN, in the gradient too.
    outputs = torch.where(valid.unsqueeze(axis), outputs, 0)
    loss = torch.where(valid, _of_classes(targets, outputs, from_logits, axis), 0.0)
    keras_masks.attach_mask(loss, valid)  # as Keras tells whoever reduces it
    return loss


def _of_classes(targets, outputs, from_logits, axis):
    # torch has the classes on axis 1.
    outputs = outputs if axis % outputs.ndim == 1 else outputs.movedim(axis, 1)
    if from_logits:
        return F.cross_entropy(outputs, targets, reduction="none")
    logarithms = torch.log(clipped(outputs / outputs.sum(1, keepdim=True)))
    return F.nll_loss(logarithms, targets, reduction="none")


def categorical_generalized_cross_entropy(targets, outputs, q):
    if targets.shape != outputs.shape[:-1]:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    classes = class_numbers(targets, outputs)
    chosen = outputs.gather(-1, classes.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    chosen = torch.where(classes >= 0, chosen, 0.0)
    return (1 - torch.pow(chosen, q)) / q


def dice(targets, outputs, axis=None):
    targets, outputs, total = _of_overlap(targets, outputs, axis)
    both = total(targets) + total(outputs) + keras.config.epsilon()
    return 1 - 2.0 * total(targets * outputs) / both


def tversky(targets, outputs, alpha=0.5, beta=0.5, axis=None):
    targets, outputs, total = _of_overlap(targets, outputs, axis)
    common = total(targets * outputs)
    missed, added = total((1 - outputs) * targets), total(outputs * (1 - targets))
    if keras_version.VERSION >= (3, 16):  # before, Keras had the two the other way round
        alpha, beta = beta, alpha
    return 1 - common / (common + missed * alpha + added * beta + keras.config.epsilon())


def _of_overlap(targets, outputs, axis):
    targets, outputs = paired(targets, outputs)
    axis = tuple(range(targets.ndim)) if axis is None else axis
    return targets, outputs, (lambda x: x.sum(axis))
