"""Losses said in torch, on logits, without leaving the device."""

from keras_dawn.foundation import keras_internals

import keras
import torch
import torch.nn.functional as F

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")  # alike without weights
_FULL = {"float32": torch.float32, "float64": torch.float64}


def native_loss(model, outputs):
    """`(function, reason)`: a function `(targets, outputs) -> loss`, or why there is none.

    The function returns `None` for what it does not compute exactly as Keras does: targets of
    another shape, an empty batch, a mask, settings that were changed. Keras then computes the
    loss on the native outputs, as it does for every loss without a function, or says what is
    wrong with it.

    Args:
        model: compiled `keras.Model`, its loss built.
        outputs: the `KerasTensor`s it returns, flat.
    """
    losses = keras_internals.resolved_losses(model)
    if losses is None:
        return None, "no loss was built"
    if len(losses) != 1 or len(outputs) != 1 or losses[0][1] is not None:
        return None, "several outputs or loss weights"
    loss = losses[0][0]
    function = keras_internals.function_of_loss(loss)
    if function not in _FORMS:
        name = type(loss).__name__ if function is None else function.__name__
        return None, f"the loss {name}"
    reason = why_not(loss)
    if reason is None and function not in (_BINARY, _SQUARED) and len(outputs[0].shape) != 2:
        reason = "outputs that are not (batch, classes)"
    if reason is not None:
        return None, reason
    return NativeLoss(loss, keras_internals.dtype_of_total_loss(model)), None


def why_not(loss):
    """Which of a loss's present settings has no native form, or `None`."""
    settings = keras_internals.settings_of_loss(loss)
    if loss.reduction not in _MEANS or settings.get("axis", -1) != -1:
        return "reduction or axis of the loss"
    if loss.dtype not in _FULL:
        return f"a loss in {loss.dtype}"
    if keras_internals.function_of_loss(loss) is not _SQUARED and not settings.get("from_logits"):
        return "a loss on probabilities (logits and from_logits=True are safer and faster)"
    if settings.get("ignore_class") is not None:
        return "ignore_class"
    return None


class NativeLoss:
    """One of Keras's losses in torch; its settings are read in every step, as Keras does.

    Args:
        loss: `keras.Loss` whose function has a form here.
        dtype: str, what the whole loss is cast to.
    """

    def __init__(self, loss, dtype):
        self._loss = loss
        self._dtype = getattr(torch, dtype)

    def __call__(self, targets, outputs):
        loss = self._loss
        if why_not(loss) is not None or keras_internals.mask_of(outputs) is not None:
            return None
        form = _FORMS.get(keras_internals.function_of_loss(loss))
        if form is None or not outputs.numel():
            return None
        smoothing = keras_internals.settings_of_loss(loss).get("label_smoothing") or 0.0
        value = form(targets, outputs.to(_FULL[loss.dtype]), smoothing)
        return None if value is None else value.to(self._dtype)


def _sparse_cross_entropy(targets, outputs, _):
    """Class numbers with logits `(batch, classes)`.

    A sum divided by the batch: torch's own mean leaves out labels of −100, Keras's does not.
    """
    targets = class_numbers(targets, outputs)
    if targets is None:
        return None
    return F.cross_entropy(outputs, targets, reduction="sum") / len(targets)


def _cross_entropy(targets, outputs, smoothing):
    """Class probabilities with logits `(batch, classes)`."""
    classes = outputs.shape[-1]
    if targets.shape != outputs.shape or outputs.ndim != 2 or classes == 1:
        return None
    targets = targets.to(outputs.dtype)
    if smoothing:
        targets = targets * (1.0 - smoothing) + smoothing / classes
    return F.cross_entropy(outputs, targets)


def _binary_cross_entropy(targets, outputs, smoothing):
    targets, outputs = _same_rank(targets, outputs)
    if targets.shape != outputs.shape:
        return None
    targets = targets.to(outputs.dtype)
    if smoothing:
        targets = targets * (1.0 - smoothing) + 0.5 * smoothing
    return F.binary_cross_entropy_with_logits(outputs, targets)


def _mean_squared_error(targets, outputs, _):
    targets, outputs = _same_rank(targets, outputs)
    if targets.shape != outputs.shape:
        return None
    return F.mse_loss(outputs, targets.to(outputs.dtype))


_BINARY = keras.losses.binary_crossentropy
_SQUARED = keras.losses.mean_squared_error
_FORMS = {
    keras.losses.sparse_categorical_crossentropy: _sparse_cross_entropy,
    keras.losses.categorical_crossentropy: _cross_entropy,
    _BINARY: _binary_cross_entropy,
    _SQUARED: _mean_squared_error,
}


def class_numbers(targets, outputs):
    """Targets `(batch,)` or `(batch, 1)` as the class numbers of outputs `(batch, classes)`.

    `None` for any other shape.
    """
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.ndim != 1 or outputs.ndim != 2 or len(targets) != len(outputs):
        return None
    return targets if targets.dtype == torch.int64 else targets.long()


def _same_rank(targets, outputs):
    """Drops or adds a last axis of 1 where the ranks differ by one, by Keras's rules."""
    if targets.ndim == outputs.ndim + 1 and targets.shape[-1] == 1 and outputs.ndim != 1:
        return targets.squeeze(-1), outputs
    if targets.ndim + 1 == outputs.ndim and outputs.shape[-1] == 1:
        if targets.ndim == 1:
            return targets.unsqueeze(-1), outputs
        return targets, outputs.squeeze(-1)
    return targets, outputs
