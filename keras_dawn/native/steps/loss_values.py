"""Keras's loss functions said in torch, one number for each item, with Keras's own numerics.

Every function takes targets and outputs, floats of one dtype (class numbers may be whole), and
the settings of the Keras function. `NotAlikeError` says that Keras has to compute this one: targets
that are broadcast, settings of an unusual kind, what it warns of or refuses.
"""

import functools
import inspect

from keras_dawn.foundation import keras_masks, keras_version

import keras
import torch
import torch.nn.functional as F


class NotAlikeError(ValueError):
    """What these functions do not compute exactly as Keras does."""


def same_rank(one, other):
    """Drops or adds a last axis of 1 where the ranks differ by one, by Keras's rules."""
    if one.ndim == other.ndim + 1 and one.shape[-1] == 1:
        return (one, other.unsqueeze(-1)) if other.ndim == 1 else (one.squeeze(-1), other)
    if one.ndim + 1 == other.ndim and other.shape[-1] == 1:
        return (one.unsqueeze(-1), other) if one.ndim == 1 else (one, other.squeeze(-1))
    return one, other


def paired(targets, outputs):
    """Targets in the outputs' dtype, both of one shape."""
    targets, outputs = same_rank(targets, outputs)
    if targets.shape != outputs.shape or not targets.ndim:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    return targets.to(outputs.dtype), outputs


def class_numbers(targets, outputs, axis=-1):
    """Targets as whole class numbers, of the outputs' shape without the axis of classes."""
    shape = list(outputs.shape)
    classes = shape.pop(axis)
    if targets.ndim == outputs.ndim and targets.shape[axis] == 1:
        targets = targets.squeeze(axis)
    if list(targets.shape) != shape or classes == 1 or not shape:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    return targets if targets.dtype == torch.int64 else targets.long()


def _clipped(probabilities):
    epsilon = keras.config.epsilon()
    return torch.clip(probabilities, epsilon, 1.0 - epsilon)


def _axis(axis):
    if type(axis) is not int:
        raise NotAlikeError(f"axis={axis}")
    return axis


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
    epsilon = keras.config.epsilon()
    one, other = (torch.log(part.clamp_min(epsilon) + 1.0) for part in (outputs, targets))
    return (one - other).square().mean(-1)


def cosine_similarity(targets, outputs, axis=-1):
    targets, outputs = paired(targets, outputs)
    axis = _axis(axis)

    def of_length_one(x):
        inverse = torch.rsqrt(x.square().sum(axis, keepdim=True))
        return x * inverse.clamp_max(1.0 / keras.config.epsilon())

    return -(of_length_one(targets) * of_length_one(outputs)).sum(axis)


def huber(targets, outputs, delta=1.0):
    targets, outputs = paired(targets, outputs)
    error = outputs - targets
    size = error.abs()
    linear = delta * size - 0.5 * delta**2
    return torch.where(size <= delta, 0.5 * error.square(), linear).mean(-1)


def log_cosh(targets, outputs):
    targets, outputs = paired(targets, outputs)
    error = outputs - targets
    log_2 = torch.log(error.new_full((), 2.0))
    return (error + F.softplus(error * -2.0) - log_2).mean(-1)


def _signs(targets):
    """Labels of 0 and 1 as −1 and 1; others as they are."""
    binary = ((targets == 0) | (targets == 1)).all()
    return torch.where(binary, 2.0 * targets - 1.0, targets)


def hinge(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return (1.0 - _signs(targets) * outputs).clamp_min(0.0).mean(-1)


def squared_hinge(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return (1.0 - _signs(targets) * outputs).clamp_min(0.0).square().mean(-1)


def categorical_hinge(targets, outputs):
    targets, outputs = paired(targets, outputs)
    positive = (targets * outputs).sum(-1)
    negative = ((1.0 - targets) * outputs).amax(-1)
    return (negative - positive + 1.0).clamp_min(0.0)


def kl_divergence(targets, outputs):
    targets, outputs = paired(targets, outputs)
    epsilon = keras.config.epsilon()
    targets, outputs = targets.clip(epsilon, 1), outputs.clip(epsilon, 1)
    return (targets * torch.log(targets / outputs)).sum(-1)


def poisson(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return (outputs - targets * torch.log(outputs + keras.config.epsilon())).mean(-1)


def binary_crossentropy(targets, outputs, from_logits=False, label_smoothing=0.0, axis=-1):
    targets, outputs = paired(targets, outputs)
    targets = _smoothed_between_two(targets, label_smoothing)
    return _binary(targets, outputs, from_logits).mean(_axis(axis))


def _smoothed_between_two(targets, smoothing):
    return targets * (1.0 - smoothing) + 0.5 * smoothing if smoothing else targets


def _binary(targets, outputs, from_logits):
    if from_logits:
        return F.binary_cross_entropy_with_logits(outputs, targets, reduction="none")
    return F.binary_cross_entropy(_clipped(outputs), targets, reduction="none")


def binary_focal_crossentropy(
    targets, outputs, apply_class_balancing=False, alpha=0.25, gamma=2.0, from_logits=False,
    label_smoothing=0.0, axis=-1,
):  # fmt: skip
    targets, outputs = paired(targets, outputs)
    targets = _smoothed_between_two(targets, label_smoothing)
    outputs = torch.sigmoid(outputs) if from_logits else outputs
    right = targets * outputs + (1 - targets) * (1 - outputs)
    loss = torch.pow(1.0 - right, gamma) * _binary(targets, outputs, False)
    if apply_class_balancing:
        loss = (targets * alpha + (1 - targets) * (1 - alpha)) * loss
    return loss.mean(_axis(axis))


def _one_hot(targets, outputs, smoothing):
    targets, outputs = paired(targets, outputs)
    if outputs.shape[-1] == 1:
        raise NotAlikeError("one class, of which Keras warns")
    if smoothing:
        targets = targets * (1.0 - smoothing) + smoothing / targets.shape[-1]
    return targets, outputs


def categorical_crossentropy(targets, outputs, from_logits=False, label_smoothing=0.0, axis=-1):
    targets, outputs = _one_hot(targets, outputs, label_smoothing)
    axis = _axis(axis)
    if from_logits:
        logarithms = torch.log_softmax(outputs, axis)
    else:
        logarithms = torch.log(_clipped(outputs / outputs.sum(axis, keepdim=True)))
    return -(targets * logarithms).sum(axis)


def categorical_focal_crossentropy(
    targets, outputs, alpha=0.25, gamma=2.0, from_logits=False, label_smoothing=0.0, axis=-1
):
    targets, outputs = _one_hot(targets, outputs, label_smoothing)
    axis = _axis(axis)
    outputs = torch.softmax(outputs, axis) if from_logits else outputs
    outputs = _clipped(outputs / outputs.sum(axis, keepdim=True))
    alpha = outputs.new_tensor(alpha) if isinstance(alpha, (list, tuple)) else alpha
    weight = torch.pow(1.0 - outputs, gamma) * alpha
    return (weight * (-targets * torch.log(outputs))).sum(axis)


def sparse_categorical_crossentropy(
    targets, outputs, from_logits=False, ignore_class=None, axis=-1
):
    axis = _axis(axis)
    if ignore_class is None:
        return _of_classes(class_numbers(targets, outputs, axis), outputs, from_logits, axis)
    if targets.ndim == outputs.ndim and targets.shape[axis] == 1:
        targets = targets.squeeze(axis)
    valid = targets.to(outputs.dtype) != ignore_class
    targets = class_numbers(torch.where(valid, targets, 0), outputs, axis)
    outputs = torch.where(valid.unsqueeze(axis), outputs, 0)
    loss = torch.where(valid, _of_classes(targets, outputs, from_logits, axis), 0.0)
    keras_masks.attach_mask(loss, valid)  # as Keras tells whoever reduces it
    return loss


def _of_classes(targets, outputs, from_logits, axis):
    outputs = outputs if axis % outputs.ndim == 1 else outputs.movedim(axis, 1)
    if from_logits:
        return F.cross_entropy(outputs, targets, reduction="none")
    logarithms = torch.log(_clipped(outputs / outputs.sum(1, keepdim=True)))
    return F.nll_loss(logarithms, targets, reduction="none")


def categorical_generalized_cross_entropy(targets, outputs, q):
    if targets.shape != outputs.shape[:-1]:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    classes = class_numbers(targets, outputs)
    chosen = outputs.gather(-1, classes.clamp_min(0).unsqueeze(-1)).squeeze(-1)
    chosen = torch.where(classes >= 0, chosen, 0.0)
    return (1 - torch.pow(chosen, q)) / q


def _of_overlap(targets, outputs, axis):
    targets, outputs = paired(targets, outputs)
    axis = tuple(range(targets.ndim)) if axis is None else axis
    return targets, outputs, (lambda x: x.sum(axis))


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


VALUES = {
    getattr(keras.losses, form.__name__): form
    for form in (
        mean_squared_error, mean_absolute_error, mean_absolute_percentage_error,
        mean_squared_logarithmic_error, cosine_similarity, huber, log_cosh, hinge, squared_hinge,
        categorical_hinge, kl_divergence, poisson, binary_crossentropy,
        binary_focal_crossentropy, categorical_crossentropy, categorical_focal_crossentropy,
        sparse_categorical_crossentropy, categorical_generalized_cross_entropy, dice, tversky,
    )
}  # fmt: skip


def known(function, settings):
    """The settings that the native form of a Keras loss takes.

    Args:
        function: Keras's, one of `VALUES`.
        settings: dict of what it is called with.

    Raises:
        NotAlikeError: a setting that a later Keras added, with another value than its default.
    """
    added = _added(function)
    if not added:
        return settings
    for name, default in added.items():
        if settings.get(name, default) != default:
            raise NotAlikeError(f"{name}={settings[name]!r}")
    return {name: value for name, value in settings.items() if name not in added}


@functools.cache
def _added(function):
    """Defaults of the settings that a Keras loss has and its native form has not."""
    native = inspect.signature(VALUES[function]).parameters
    _, _, *theirs = inspect.signature(function).parameters.values()  # without the tensors
    return {each.name: each.default for each in theirs if each.name not in native}
