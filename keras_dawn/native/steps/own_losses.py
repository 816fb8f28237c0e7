"""Keras's loss objects in Python of the user's: means over the valid items of all ranks."""

import contextlib
import functools

from keras_dawn.foundation import keras_losses, keras_masks
from keras_dawn.native.steps.valid_items import over_ranks, share_of_valid

_MEANS = ("sum_over_batch_size", "mean")


@contextlib.contextmanager
def masked_over_ranks(model, weight):
    """Inside, a masked loss of a model's is divided by the valid items of all ranks.

    Those that `compile` was told and those that are attributes of the model or in a list or dict
    that is one. All ranks have to call them alike, as they have to call `backward`.

    Args:
        model: compiled `keras.Model`.
        weight: float, what this rank's loss is multiplied by before the mean over ranks.
    """
    swapped = []
    try:
        for loss in _losses_of(model):
            loss.__class__ = _over_ranks(type(loss))
            swapped.append(loss)
        with over_ranks(weight):
            yield
    finally:
        for loss in swapped:
            loss.__class__ = type(loss).keras_dawn_kind


def _losses_of(model):
    plan = keras_losses.loss_plan(model)
    found = [] if plan is None else [loss for loss, _ in plan.losses]
    for value in vars(model).values():
        if isinstance(value, dict):
            found.extend(value.values())
        elif isinstance(value, (list, tuple)):
            found.extend(value)
        else:
            found.append(value)
    # What brings a `__call__` of its own divides as it likes. So does Keras's loss around losses.
    return list({id(loss): loss for loss in found if keras_losses.reduces_as_keras(loss)}.values())


class _OverRanks:
    """In front of a loss's class: what it makes of a mask."""

    def __call__(self, y_true, y_pred, *args, **kwargs):
        # Noted here: on its way to `call` the mask is lost where the dtype is another one.
        self._mask = keras_masks.mask_of(y_pred)
        try:
            return super().__call__(y_true, y_pred, *args, **kwargs)
        finally:
            del self._mask

    def call(self, y_true, y_pred):
        values = super().call(y_true, y_pred)
        mask, own = vars(self).get("_mask"), keras_masks.mask_of(values)
        if own is not None:
            mask = own if mask is None else mask & own
        if mask is None or self.reduction not in _MEANS:
            return values
        # Keras divides by this rank's items afterwards.
        return keras_masks.with_mask(values * share_of_valid(mask, values.dtype), own)


@functools.cache
def _over_ranks(kind):
    members = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "keras_dawn_kind": kind,
    }
    return type(kind.__name__, (_OverRanks, kind), members)
