"""One rule applied to one call: what it is given, what it has to return, and its masks."""

import copy
import dataclasses

from keras_dawn.foundation import keras_layers
from keras_dawn.native.lowering.arguments import call_arguments, cast
from keras_dawn.native.lowering.masks import dropping_masks, why_mask_is_read
from keras_dawn.native.lowering.reads import Recorded
from keras_dawn.native.lowering.rules import takes_arguments
from keras_dawn.native.lowering.values import LoweringError, TwoLayoutsError, Value, reason_of

import keras
import torch
from keras import layers


def why_not_simple(node, args, kwargs):
    """Why a call has more in it than tensors, which is all that a simple rule takes, or `None`."""
    operation = node.operation
    inputs = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, Value)]
    if any(value is not None for value in kwargs.values()):
        return f"called with {', '.join(kwargs)}"
    tensors = all(isinstance(part, Value) for part in keras.tree.flatten(args))
    if isinstance(operation, keras.Layer) and not tensors:
        return "called with more than tensors"
    if any(value.mask is not None for value in inputs):
        reason = why_mask_is_read(operation)
        if reason is not None:
            return reason
    return None if len(node.outputs) == 1 else "several outputs"


def apply_rule(builder, node, apply, call):
    """`(values, None)` that the operation's rule returns, or `(None, reason)` why it cannot."""
    operation = node.operation
    before = builder.mark()
    recorded = Recorded(operation, builder.reads)
    try:
        if takes_arguments(apply):
            arguments = call_arguments(builder, operation, call.args, call.kwargs)
            call = dataclasses.replace(call, arguments=arguments)
            inputs = [x for x in keras.tree.flatten(arguments) if isinstance(x, Value)]
        else:
            inputs = keras.tree.flatten((call.args, call.kwargs))
            inputs = [x for x in inputs if isinstance(x, Value)]
            if isinstance(operation, keras.Layer) and keras_layers.converts_inputs(recorded):
                inputs = [cast(builder, recorded, value) for value in inputs]
            inputs = dropping_masks(builder, operation, inputs)
        values = apply(builder, recorded, inputs, call)
        values = values if isinstance(values, list) else [values]
        if len(values) != len(node.outputs):
            raise LoweringError(f"its rule returns {len(values)} outputs")
        for value, output in zip(values, node.outputs, strict=True):
            if not isinstance(value, Value) or not isinstance(value.node, torch.fx.Node):
                raise LoweringError(f"its rule returns {type(value).__name__}")
            if value.rank != len(output.shape):
                raise LoweringError(f"its rule returns {value.rank} axes")
    except TwoLayoutsError:
        raise
    except Exception as error:  # of a rule, which may be the user's: this layer's alone
        builder.undo(before)
        return None, reason_of(error)
    return values, None


def supported_masks(builder, layer, values):
    """The outputs of a rule that says their masks, without them where the layer supports none."""
    if not isinstance(layer, keras.Layer) or keras_layers.acts_as(layer) in _ATTACH_THEM:
        return values
    if all(value.mask is None for value in values):
        return values
    supports = builder.reads.attribute(layer, "supports_masking")
    return values if supports else with_masks(builder, values, None)


# In their `call`, whether they support masks or not.
_ATTACH_THEM = (layers.Masking, layers.MultiHeadAttention, layers.ReversibleEmbedding)


def with_masks(builder, values, masks):
    """The outputs of a rule with the masks that its layer computes."""
    masks = [None] * len(values) if masks is None else keras.tree.flatten(masks)
    for number, (value, mask) in enumerate(zip(values, masks, strict=False)):
        if mask is not value.mask:
            values[number] = copy.copy(value)  # a rule may hand on the input's own value
            builder.masks.set(values[number], mask)
    return values
