"""Optimizer steps on torch's leaves: fused where the formula is known, else Keras's own."""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.foundation.acting_classes import acting_class
from keras_dawn.native.steps.updates.adafactor import Adafactor
from keras_dawn.native.steps.updates.adam import FUSED_DTYPES, KerasFormAdam
from keras_dawn.native.steps.updates.adam_kin import Adamax, Lamb, Nadam, ScheduleFreeAdamW
from keras_dawn.native.steps.updates.adaptive import Adadelta, Adagrad, Ftrl, Lion, RMSprop
from keras_dawn.native.steps.updates.base import Update
from keras_dawn.native.steps.updates.fused import ACCUMULATORS, AVERAGES
from keras_dawn.native.steps.updates.keras_muon import KerasFormMuon
from keras_dawn.native.steps.updates.layerwise import layerwise_form
from keras_dawn.native.steps.updates.schedules import ScheduledRate
from keras_dawn.native.steps.updates.several import Several, parts_of
from keras_dawn.native.steps.updates.sgd import KerasFormSGD, TorchFormSGD
from keras_dawn.native.steps.updates.unfused import KerasApply, OwnForm
from keras_dawn.optimizers import LARS, SGD, Muon
from keras_dawn.optimizers.layerwise import CLASSES as LAYERWISE
from keras_dawn.optimizers.layerwise import keras_class_name

__all__ = ["FORMS", "KerasApply", "is_patched", "make_update", "why_not_fused"]

FORMS = {
    "Adadelta": Adadelta,
    "Adafactor": Adafactor,
    "Adagrad": Adagrad,
    "Adam": KerasFormAdam,
    "AdamW": KerasFormAdam,
    "Adamax": Adamax,
    "Ftrl": Ftrl,
    "Lamb": Lamb,
    "Lion": Lion,
    "Muon": KerasFormMuon,
    "Nadam": Nadam,
    "RMSprop": RMSprop,
    "SGD": KerasFormSGD,
    "ScheduleFreeAdamW": ScheduleFreeAdamW,
}
"""Keras's optimizers by name: on torch, each is of a class beside the one that Keras exports."""

_NEEDS = {
    "use_ema": AVERAGES,
    "gradient_accumulation_steps": ACCUMULATORS,
    "amsgrad": "_velocity_hats",
    "centered": "_average_gradients",
}  # settings and the state that an optimizer is built with for them


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
    keras_optimizers.check_known(optimizer, variables)
    if _is_several(optimizer):
        parts = [
            (numbers, make_update(inner, [leaves[n] for n in numbers], []))
            for inner, numbers in parts_of(optimizer, leaves)
        ]
        return Several(optimizer, leaves, parts)
    tensor = leaves[0].tensor
    if type(optimizer) is SGD and (tensor.dtype, tensor.device.type) in FUSED_DTYPES:
        return TorchFormSGD(optimizer, leaves)
    # Ours run as they are: their steps already are a few calls for all weights.
    if type(optimizer) in (SGD, LARS, Muon):
        return OwnForm(optimizer, leaves)
    form = FORMS[keras_class_name(optimizer)]
    layered = type(optimizer) in LAYERWISE.values()
    return (layerwise_form(form) if layered else form)(optimizer, leaves)


def why_not_fused(optimizer, leaves):
    """Why Keras's `apply` has to do an optimizer's step, as its settings are now, or `None`."""
    several = _is_several(optimizer)
    ours = type(optimizer) in (SGD, LARS, Muon)
    theirs = several or (_is_keras_s(optimizer) and keras_class_name(optimizer) in FORMS)
    if (not ours and not theirs) or is_patched(optimizer):
        return f"{type(optimizer).__name__} steps by its own code"
    is_muon = theirs and not several and keras_class_name(optimizer) == "Muon"
    if is_muon and ScheduledRate(optimizer).is_asked():
        return "a learning rate that is called for each weight"
    for name, state in _NEEDS.items():
        if getattr(optimizer, name, None) and not keras_optimizers.has_state(optimizer, state):
            return f"{name} was set after the optimizer was built"
    for variable in keras_optimizers.trainable_variables(optimizer):
        # Scales of float8: not a step at all.
        if variable.overwrite_with_gradient:
            return f"{variable.path} is overwritten with its gradient by Keras"
    if len({(leaf.tensor.dtype, leaf.tensor.device.type) for leaf in leaves}) > 1:
        return "weights of several dtypes"
    if several:
        known = keras_optimizers.trainable_variables(optimizer)
        if {id(leaf.variable) for leaf in leaves} != set(map(id, known)):
            return "weights without a gradient"
        reasons = (why_not_fused(inner, leaves) for inner in optimizer.optimizers)
        return next((reason for reason in reasons if reason is not None), None)
    return None


def is_patched(optimizer):
    """Whether somebody has put a method of their own on this one optimizer."""
    kind = type(optimizer)
    return any(callable(getattr(kind, name, None)) for name in vars(optimizer))


def _is_keras_s(optimizer):
    layered = type(optimizer) in LAYERWISE.values()
    return layered or acting_class(type(optimizer)).__module__.startswith("keras.")


def _is_several(optimizer):
    return _is_keras_s(optimizer) and keras_class_name(optimizer) == "MultiOptimizer"
