"""Keras's operations: what their `call` is told, and what of `keras.ops` only computes."""

import inspect

import keras
from keras.src import backend


def bound_arguments(operation, args, kwargs):
    """What an operation's `call` is told, by name, with its defaults but for `training`.

    Raises:
        TypeError: it does not take these.
        ValueError: masks, and any keyword arguments.
    """
    signature = inspect.signature(operation.call)  # a layer's own is that of when it was made
    bound = signature.bind(*args, **kwargs)
    bound.apply_defaults()
    told = dict(bound.arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            others = told.pop(parameter.name)
            # Keras fills masks in for those of the signature alone.
            if others and any(name.endswith("mask") for name in (*told, *others)):
                raise ValueError("a `call` with any keyword arguments, and masks")
            told |= others
    return {name: value for name, value in told.items() if name != "training"}


_OF_FUNCTIONS = {  # operations that call functions of the user's, or draw from a generator
    "Map", "Scan", "AssociativeScan", "Switch", "WhileLoop", "ForiLoop", "Cond", "VectorizedMap",
    "JVP", "ElasticTransform",
}  # fmt: skip


def computes_in_torch(operation):
    """Whether an operation is one of `keras.ops` whose `call` only computes with tensors."""
    if isinstance(operation, keras.Layer) or not isinstance(operation, keras.Operation):
        return False
    kind = type(operation)
    ours = kind.__module__.startswith("keras.src.ops.") and kind.__name__ not in _OF_FUNCTIONS
    return ours and "call" not in vars(operation) and operation._remat_mode is None


def dtypes_computed(operation, arguments):
    """The dtypes of an operation's results, computed without numbers; `None` where that fails.

    Args:
        operation: of `keras.ops`.
        arguments: of a node of Keras's graph.
    """
    try:
        found = backend.compute_output_spec(operation.call, *arguments.args, **arguments.kwargs)
        return [tensor.dtype for tensor in keras.tree.flatten(found)]
    except Exception:  # some look at numbers
        return None
