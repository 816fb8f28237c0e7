"""The compiled loss of a model, without leaving the device."""

from keras_dawn.foundation import keras_losses, keras_masks
from keras_dawn.native.steps.loss_targets import NotAlikeError, are_tensors
from keras_dawn.native.steps.loss_values import VALUES, known
from keras_dawn.native.steps.mean_losses import MEAN_OF
from keras_dawn.native.steps.settings import Settings
from keras_dawn.native.steps.several_losses import SeveralLosses, why_not_several
from keras_dawn.native.steps.unchanged import Unchanged
from keras_dawn.native.steps.weighing import MEANS, reduced

import keras
import torch

# Losses of half precision stay Keras's: their sums depend on where the rounding happens.
_FULL = {"float32": torch.float32, "float64": torch.float64}


def native_loss(model, outputs):
    """`(function, reason)`: a function `(targets, outputs, weight) -> loss`, or why there is none.

    The function returns `None` for what it does not compute exactly as Keras does: targets of
    another shape, an empty batch, settings that were changed. Keras then computes the loss on the
    native outputs, or says what is wrong with it. A loss of the user's is called as it is, and
    weighed here; there is a function and a reason then.

    Args:
        model: compiled `keras.Model`, its loss built.
        outputs: the `KerasTensor`s it returns, flat.
    """
    plan = keras_losses.loss_plan(model)
    if plan is None:
        compiled = keras_losses.has_compiled_loss(model)
        return None, "no loss was built" if compiled else "compiled without a loss"
    dtype = keras_losses.dtype_of_total_loss(model)
    if len(plan.losses) == 1 and len(outputs) == 1 and not keras.tree.is_nested(plan.outputs):
        (loss, share), reason = plan.losses[0], why_not(plan.losses[0][0])
        if reason is not None:
            return None, reason
        return NativeLoss(loss, dtype, share), _called_as_it_is([loss])
    reason = why_not_several(plan)
    if reason is not None:
        return None, reason
    losses = [loss for loss, _ in plan.losses]
    reasons = [reason for reason in map(why_not, losses) if reason is not None]
    if reasons:
        return None, reasons[0]
    each = [NativeLoss(loss, dtype) for loss in losses]
    return SeveralLosses(plan, each, getattr(torch, dtype)), _called_as_it_is(losses)


def _called_as_it_is(losses):
    """Which losses have no form in torch, or `None`."""
    names = []
    for loss in losses:
        function = keras_losses.function_of_loss(loss)
        if function not in VALUES:
            kind = type(loss).__name__
            names.append(kind if function is None else getattr(function, "__name__", "a function"))
    return f"{', '.join(names)} itself" if names else None


def why_not(loss):
    """Which of a loss's present settings has no native form, or `None`."""
    if not keras_losses.reduces_as_keras(loss):
        return f"the loss {type(loss).__name__}"
    if loss.dtype not in _FULL:
        return f"a loss in {loss.dtype}"
    return None


class NativeLoss:
    """A Keras loss in torch; a setting that is changed counts from the next step on.

    Args:
        loss: `keras.Loss`.
        dtype: str, what the whole loss is cast to.
        share: float or `None`, the weight of the loss.
    """

    left_to_keras = False  # a part of the last batch

    def __init__(self, loss, dtype, share=None):
        self._loss = loss
        self._settings = Settings(loss)
        self._unchanged = Unchanged(loss, "_fn_kwargs")
        self._refused = False  # with the present settings
        self._function = self._mean = self._own_dtype = None
        self._dtype = getattr(torch, dtype)
        self._share = share

    def __call__(self, targets, outputs, weight=None):
        loss = self._loss
        if not are_tensors(targets, outputs, weight):
            return None
        # Looked at in every step: a callback may set another reduction.
        if not self._unchanged():
            self._look()
        if self._refused or not outputs.numel():
            return None
        try:
            value = _in(self._dtype, self._value(loss, targets, outputs, weight))
        except NotAlikeError:
            return None
        return value if self._share is None else value * self._share

    def settings(self):
        """What computing the loss reads."""
        return (self._settings(),)

    def _look(self):
        """Finds out what the loss computes by its present settings."""
        self._refused = why_not(self._loss) is not None
        if self._refused:
            return
        self._own_dtype = _FULL[self._loss.dtype]
        self._function = keras_losses.function_of_loss(self._loss)
        self._mean = MEAN_OF.get(self._function) if self._loss.reduction in MEANS else None

    def _value(self, loss, targets, outputs, weight):
        mask = keras_masks.mask_of(outputs)
        dtype, function = self._own_dtype, self._function
        outputs = _in(dtype, outputs)
        if function not in VALUES:
            values = loss.call(_in(dtype, targets), outputs)
            if not isinstance(values, torch.Tensor):
                raise NotAlikeError(f"a loss of {type(values).__name__}")
            return reduced(values.to(dtype), weight, mask, loss.reduction)
        settings = known(function, keras_losses.settings_of_loss(loss))
        if function not in _OF_CLASSES:
            targets = _in(dtype, targets)
        # Fewer kernels, forward and backward, than values that are averaged afterwards.
        if weight is None and mask is None and self._mean is not None:
            value = self._mean(targets, outputs, **settings)
            if value is not None:
                return value
        values = VALUES[function](targets, outputs, **settings)
        return reduced(values, weight, mask, loss.reduction)


def _in(dtype, tensor):
    return tensor if tensor.dtype is dtype else tensor.to(dtype)


_OF_CLASSES = {
    keras.losses.sparse_categorical_crossentropy,
    keras.losses.categorical_generalized_cross_entropy,
}
