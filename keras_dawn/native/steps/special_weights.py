"""Weights that are more than what layers compute with: regularized ones, those with hooks."""

from keras_dawn.foundation import keras_losses, keras_models, keras_variables

import keras
from keras import regularizers


def special_weights(model):
    """The trained variables whose own tensor has to get the gradient, with what asks for it."""
    found = []
    for variable in model.trainable_variables:
        regularizer = getattr(variable, "regularizer", None)
        hooked = keras_variables.has_hooks(variable)
        if regularizer is not None or hooked:
            found.append((variable, regularizer, hooked))
    return found


def sort_out(special, model):
    """Of such variables, those whose penalties are added here, and those wanted themselves."""
    possible = _may_add_penalties(model)
    ours = [v for v, _, hooked in special if possible and not hooked and _is_penalty(v)]
    known = set(map(id, ours))
    return ours, [variable for variable, _, _ in special if id(variable) not in known]


def same(now, then):
    """Whether special weights are the same as before, for the same reasons."""
    if len(now) != len(then):
        return False
    pairs = zip(sum(now, ()), sum(then, ()), strict=True)
    return all(one is other for one, other in pairs)


def _is_penalty(variable):
    """Whether a variable's regularizer is one that is known here."""
    known = type(variable.regularizer) in (regularizers.L1, regularizers.L2, regularizers.L1L2)
    return known and variable.dtype in ("float32", "float64")


def _may_add_penalties(model):
    """Whether what Keras adds to a model's compiled loss may be added here instead."""
    own = keras_models.is_overridden(model, "compute_loss")
    # A model may add something else to its losses than Keras would.
    sums_itself = type(model).losses is not keras.Layer.losses
    return not own and not sums_itself and keras_losses.has_compiled_loss(model)
