"""Layers that only call other layers."""

import dataclasses

from keras_dawn.foundation import keras_layers
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.reads import Recorded
from keras_dawn.native.lowering.rules import find_rule, rule, takes_arguments
from keras_dawn.native.lowering.values import LoweringError

import keras
from keras import layers


def inside(builder, layer, value, call):
    """What a layer inside another one makes of a value, by its own rule.

    Args:
        call: `Call` of the outer layer, with the shapes that the inner one is called on.

    Raises:
        LoweringError: the inner layer has no rule, or has to be called as it is.
    """
    apply = find_rule(layer)
    reason = why_as_it_is(layer, None if builder.for_one_layer else builder.reads)
    if apply is None or reason is not None:
        raise LoweringError(f"{layer.name} inside it: {reason or 'no rule'}")
    if takes_arguments(apply):
        raise LoweringError(f"{layer.name} inside it, which has more arguments than a tensor")
    # In Keras the inner layers attach masks themselves, whether the outer one supports them or not.
    if value.mask is not None or not keras_layers.only_passes_mask_on(layer):
        raise LoweringError(f"{layer.name} inside it may have a mask")
    if keras_layers.converts_inputs(layer):
        value = builder.cast(value, layer.input_dtype)
    call = dataclasses.replace(call, name=f"{call.name}_{layer.name}", args=(value,))
    return apply(builder, Recorded(layer, builder.reads), [value], call)


@rule(layers.Pipeline)
def pipeline(builder, layer, inputs, call):
    (value,) = inputs
    if value.mask is not None:
        raise LoweringError("a mask")
    shape = call.shapes[0]
    for each in layer.layers:
        output = each.compute_output_spec(keras.KerasTensor(shape, value.dtype))
        one = dataclasses.replace(call, output=output, shapes=[shape])
        value, shape = inside(builder, each, value, one), output.shape
    return value
