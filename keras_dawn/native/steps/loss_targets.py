"""Targets beside outputs: of one shape and dtype, as class numbers, smoothed, clipped.

Targets and outputs are floats of one dtype; class numbers may be whole.
"""

from keras_dawn.native import capture

import keras
import torch


class NotAlikeError(ValueError):
    """What these functions do not compute exactly as Keras does."""


def are_tensors(targets, outputs, weight):
    """Whether these are tensors; there may be no weight."""
    kind = torch.Tensor
    pair = isinstance(targets, kind) and isinstance(outputs, kind)
    return pair and (weight is None or isinstance(weight, kind))


def same_rank(one, other):
    """Drops or adds a last axis of 1 where the ranks differ by one, by Keras's rules."""
    # Labels come as `(batch,)` or `(batch, 1)` beside outputs of the other kind.
    if one.ndim == other.ndim + 1 and one.shape[-1] == 1:
        return (one, other.unsqueeze(-1)) if other.ndim == 1 else (one.squeeze(-1), other)
    if one.ndim + 1 == other.ndim and other.shape[-1] == 1:
        return (one.unsqueeze(-1), other) if one.ndim == 1 else (one, other.squeeze(-1))
    return one, other


def paired(targets, outputs):
    """Targets in the outputs' dtype, both of one shape."""
    if targets.shape != outputs.shape:
        targets, outputs = same_rank(targets, outputs)
    if targets.shape != outputs.shape or not targets.ndim:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    return targets if targets.dtype is outputs.dtype else targets.to(outputs.dtype), outputs


def class_numbers(targets, outputs, axis=-1):
    """Targets as whole class numbers, of the outputs' shape without the axis of classes."""
    shape = list(outputs.shape)
    classes = shape.pop(axis)
    if targets.ndim == outputs.ndim and targets.shape[axis] == 1:
        targets = targets.squeeze(axis)
    if list(targets.shape) != shape or classes == 1 or not shape:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    return targets if targets.dtype == torch.int64 else targets.long()


def whole_axis(axis):
    """The axis of classes, if it is one whole number."""
    if type(axis) is not int:
        raise NotAlikeError(f"axis={axis}")
    return axis


def clipped(probabilities):
    """Probabilities away from 0 and 1, whose logarithms are not finite."""
    epsilon = keras.config.epsilon()
    if probabilities.requires_grad and not capture.can_be_captured(probabilities.device):
        # To look costs a processor less than the gradient of what clips nothing. That is 0 at the
        # edges themselves, as torch rounds them: nothing may come near.
        least, most = torch.aminmax(probabilities.detach())
        if least.item() > 2 * epsilon and most.item() < 1.0 - 2 * epsilon:
            return probabilities
    return torch.clip(probabilities, epsilon, 1.0 - epsilon)


def smoothed_between_two(targets, smoothing):
    """Targets of 0 and 1 drawn towards one half."""
    return targets * (1.0 - smoothing) + 0.5 * smoothing if smoothing else targets


def one_hot(targets, outputs, smoothing):
    """Targets along a last axis of classes, smoothed, with the outputs."""
    targets, outputs = paired(targets, outputs)
    if outputs.shape[-1] == 1:
        # Left to Keras, so that its warning comes.
        raise NotAlikeError("one class, of which Keras warns")
    if smoothing:
        targets = targets * (1.0 - smoothing) + smoothing / targets.shape[-1]
    return targets, outputs
