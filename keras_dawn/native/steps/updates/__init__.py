"""Optimizer steps on torch's leaves: fused where the formula is known, else Keras's own."""

from keras_dawn.foundation import keras_internals
from keras_dawn.native.steps.updates.adam import KerasFormAdam
from keras_dawn.native.steps.updates.base import Update
from keras_dawn.native.steps.updates.sgd import KerasFormSGD, TorchFormSGD
from keras_dawn.native.steps.updates.unfused import KerasApply, OwnForm
from keras_dawn.optimizers import LARS, SGD, Muon

import keras
import torch

__all__ = ["KerasApply", "is_patched", "make_update", "why_not_fused"]

_ITS_OWN = (
    "apply", "scale_loss", "update_step", "_backend_apply_gradients", "_backend_update_step",
)  # fmt: skip


def make_update(optimizer, leaves, variables):
    """The update that fits an optimizer.

    Args:
        optimizer: built Keras optimizer, without `LossScaleOptimizer` around it.
        leaves: list of `Leaf`, the trainable parameters that the graph uses.
        variables: list of all the model's trainable variables.

    Returns:
        An `Update`, with `scale(loss)`, `step(gradients)` and `reason` (why it is not fused,
        or `None`).

    Raises:
        ValueError: a weight that the optimizer was not built for, in Keras's words.
    """
    if not leaves:
        return Update(optimizer, leaves)
    reason = why_not_fused(optimizer, leaves)
    if reason is not None:  # what is wrong with the variables is for `apply` to say, then
        return KerasApply(optimizer, leaves, reason, variables)
    keras_internals.check_known(optimizer, variables)
    kind = type(optimizer)
    if kind is SGD:
        return TorchFormSGD(optimizer, leaves)
    if kind in (LARS, Muon):
        return OwnForm(optimizer, leaves)
    if isinstance(optimizer, keras.optimizers.SGD):
        return KerasFormSGD(optimizer, leaves)
    return KerasFormAdam(optimizer, leaves)


def why_not_fused(optimizer, leaves):
    """Why Keras's `apply` has to do an optimizer's step, as its settings are now, or `None`."""
    known = (keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.AdamW)
    ours = type(optimizer) in (SGD, LARS, Muon)
    theirs = isinstance(optimizer, known) and type(optimizer).__module__.startswith("keras.")
    if (not ours and not theirs) or is_patched(optimizer):
        return f"{type(optimizer).__name__} steps by its own code"
    for name in ("use_ema", "loss_scale_factor", "gradient_accumulation_steps", "amsgrad"):
        if getattr(optimizer, name, None):
            return f"{name} is applied by Keras"
    for variable in keras_internals.trainable_variables(optimizer):
        if variable.constraint:
            return "a weight constraint is applied by Keras"
        if variable.overwrite_with_gradient:
            return f"{variable.path} is overwritten with its gradient by Keras"
    kinds = {(leaf.tensor.dtype, leaf.tensor.device.type) for leaf in leaves}
    if len(kinds) > 1 or (kinds.isdisjoint(_FUSED) and type(optimizer) not in (LARS, Muon)):
        return "weights in half precision, in float64 on a GPU, or of several dtypes"
    return None


def is_patched(optimizer):
    """Whether somebody has put a method of their own on this one optimizer."""
    return any(name in vars(optimizer) for name in _ITS_OWN)


_FUSED = {(torch.float32, "cpu"), (torch.float32, "cuda"), (torch.float64, "cpu")}
