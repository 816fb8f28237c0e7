"""What a model inside another one is called with, in the order of its inputs."""

import copy

from keras_dawn.native.lowering.graph import LoweringError, Value

import keras


def inner_inputs(builder, inner, args, kwargs):
    """The values of a nested model's inputs, as `Functional.call` makes them of its arguments.

    Args:
        builder: `GraphBuilder`.
        inner: the nested model's `Functional`.
        args, kwargs: what it is called with, `Value`s in place of tensors.

    Raises:
        LoweringError: inputs that only Keras's own call can match.
    """
    given, mask = args[0] if args else kwargs.get("inputs"), kwargs.get("mask")
    others = [*args[1:], *(kwargs[name] for name in kwargs.keys() - {"inputs", "mask"})]
    if any(other is not None for other in others):
        raise LoweringError("a nested model called with more than its inputs")
    flat = keras.tree.flatten(_by_name(inner, given))
    if len(flat) != len(inner.inputs):
        raise LoweringError("a nested model called with another number of inputs")
    values = [_as_input(builder, *pair) for pair in zip(flat, inner.inputs, strict=True)]
    if mask is not None:
        for value, one in zip(values, keras.tree.flatten(mask), strict=True):
            value.mask = builder.keras_order(one) if isinstance(one, Value) else one
    return values


def _by_name(inner, given):
    """The inputs in the model's order, where a dict names them and the model has a list."""
    structure = inner.input
    if not isinstance(given, dict) or isinstance(structure, dict):
        return given
    names = [tensor.name for tensor in inner.inputs]
    flat = keras.tree.flatten(structure)
    if any(tensor is not own for tensor, own in zip(flat, inner.inputs, strict=True)):
        raise LoweringError("a nested model with inputs in another order than its structure")
    if not set(names) <= given.keys():
        raise LoweringError("a nested model called with other names than its inputs'")
    return [given[name] for name in names]


def _as_input(builder, value, symbolic):
    if not isinstance(value, Value):
        raise LoweringError("a nested model called with what is no tensor")
    if value.rank != len(symbolic.shape):
        raise LoweringError("a nested model called with an input of another rank")
    cast = copy.copy(builder.to(value, symbolic.dtype))
    cast.mask = value.mask
    return cast
