"""Reading and writing an optimizer's hyper-parameters by name, the same way for each kind.

Keras keeps the learning rate in a variable, momentum in a Python float, and puts both
behind a `LossScaleOptimizer` under `mixed_float16`, where setting `momentum` has no
effect. Everything in this package that reads or writes a hyper-parameter does it here.
"""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.foundation.silence import silenced

import keras
import torch


def unwrap(optimizer):
    """The optimizer that does the update: without `LossScaleOptimizer`s around it."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def resolve(optimizer, name):
    """The attribute that plays the part of `name` in this optimizer.

    `"momentum"` is `beta_1` in Adam and its kin.

    Raises:
        ValueError: the optimizer has no such hyper-parameter, or one that cannot be
            changed during training. The message says what to do.
    """
    optimizer = unwrap(optimizer)
    kind = type(optimizer).__name__
    attribute = name
    if name == "momentum" and not hasattr(optimizer, "momentum") and has_momentum(optimizer):
        # The mean of past gradients, which is what momentum is in SGD.
        attribute = "beta_1"
    if name == "learning_rate" and not isinstance(optimizer.learning_rate, keras.Variable):
        raise ValueError(
            f"The learning rate of {kind} is a schedule object, which cannot be set during "
            f"training. Compile with a float, for instance {kind}(learning_rate=0.1)."
        )
    if attribute.startswith("_") or not _is_number(getattr(optimizer, attribute, _MISSING)):
        raise ValueError(
            f"{kind} has no hyper-parameter {name!r}. It has: {', '.join(available(optimizer))}."
        )
    if attribute == "momentum" and optimizer.momentum == 0:
        raise ValueError(
            f"{kind} was made with momentum=0, so it keeps no velocity to schedule. "
            f"Compile with {kind}(momentum=0.9) or leave momentum out of the schedule."
        )
    return attribute


def has_momentum(optimizer):
    """Whether a schedule of `"momentum"` would have an effect."""
    optimizer = unwrap(optimizer)
    if isinstance(optimizer, _SCHEDULE_FREE):
        return False  # its beta_1 says where the gradient is taken, and has to stay as it is
    return bool(getattr(optimizer, "momentum", 0)) or hasattr(optimizer, "beta_1")


def available(optimizer):
    """Names of the hyper-parameters that can be scheduled."""
    optimizer = unwrap(optimizer)
    others = _NOT_SCHEDULED
    if keras_optimizers.rate_is_called(optimizer):  # reading it would be a call of its own
        others = others | {"learning_rate"}
    names = [
        name
        for name in {"learning_rate", *vars(optimizer), *config(optimizer)} - others
        if not name.startswith("_") and _is_number(getattr(optimizer, name, _MISSING))
    ]
    return sorted(names)


def config(optimizer):
    """The optimizer's settings as Keras writes them down, `{}` of one that does not tell them."""
    try:
        with silenced():  # of a function as its rate, which nobody stores here
            return optimizer.get_config()
    except Exception:  # one of the user's own, or with a schedule of theirs, need not have one
        return {}


def read(optimizer, name):
    """The present value as a Python float, or `None` where it is off.

    Raises:
        ValueError: see `resolve`.
    """
    optimizer = unwrap(optimizer)
    value = getattr(optimizer, resolve(optimizer, name))
    return None if value is None else float(value)


def rate_in_variable(optimizer):
    """The learning rate as a Python float, or `None` of a schedule object or a function."""
    kept = keras_optimizers.schedule_of(unwrap(optimizer))
    return float(kept.value) if isinstance(kept, keras.Variable) else None


def write(optimizer, name, value):
    """Sets a hyper-parameter without waiting for the device.

    A variable is filled in place: no host array, no new tensor. `name` must have been
    resolved before (`resolve`), since this runs before every batch.
    """
    optimizer = unwrap(optimizer)
    current = getattr(optimizer, name)
    if isinstance(current, keras.Variable):
        with torch.no_grad():
            current.value.fill_(value)
    else:
        setattr(optimizer, name, value)


_MISSING = object()
_SCHEDULE_FREE = getattr(keras.optimizers, "ScheduleFreeAdamW", ())
_NOT_SCHEDULED = {"iterations", "name", "gradient_accumulation_steps", "ema_overwrite_frequency"}


def _is_number(value):
    if isinstance(value, keras.Variable):
        return value.shape == ()
    # `True` is an int to Python: `nesterov` and `amsgrad` are switches, no numbers.
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
