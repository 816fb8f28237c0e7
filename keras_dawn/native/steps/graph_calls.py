"""A model as a lowered graph, and the graph as it is called."""

from keras_dawn.native.lowering import lower
from keras_dawn.native.lowering.module import function_of
from keras_dawn.native.lowering.values import LoweringError

import torch


def lowered_or_reason(model, **arguments):
    """`lower`, whose every error is a reason to go layer by layer."""
    try:
        return lower(model, **arguments)
    except LoweringError:
        raise
    except Exception as error:
        raise LoweringError(f"lowering it failed: {type(error).__name__}: {error}") from error


def callable_of(lowered, compile):
    """What computes a lowered graph, with `torch.compile` if `compile`."""
    if compile:
        return torch.compile(lowered.module)
    forward = function_of(lowered.module)
    # Past the module's own call, which looks for hooks: nobody has put any on it.
    return lowered.module.forward if forward is lowered.module else forward
