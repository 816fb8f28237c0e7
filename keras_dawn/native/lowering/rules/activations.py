"""Activations, as layers and as arguments of other layers."""

import dataclasses
import types

from keras_dawn.foundation import keras_layers
from keras_dawn.native.elementwise import ELEMENTWISE
from keras_dawn.native.gelu import gelu_of_images
from keras_dawn.native.lowering.attention_scores import masked_softmax
from keras_dawn.native.lowering.keras_callables import title
from keras_dawn.native.lowering.keras_calls import call_keras, why_as_it_is
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.reads import Recorded, unrecorded
from keras_dawn.native.lowering.rules import find_rule, rule, takes_arguments
from keras_dawn.native.lowering.rules.merging import same_order
from keras_dawn.native.lowering.values import (
    LoweringError,
    TwoLayoutsError,
    Value,
    float_value,
    reason_of,
)

import keras
import torch
import torch.nn.functional as F
from keras import activations, layers

ALONG_THE_CHANNELS = {
    activations.softmax: torch.softmax,
    activations.log_softmax: torch.log_softmax,
    activations.glu: F.glu,
}


def activate(builder, value, layer, call, name=None):
    """Applies a layer's activation to a value.

    An activation that is not known here is called as it is; the layer stays native.
    """
    activation = layer.activation
    if activation is None or activation is activations.linear:
        return value
    if isinstance(activation, keras.Layer):
        builder.reads.note(activation, "built", activation.built)
        if not activation.built:
            # Keras names its weights after the call that builds it: only Keras's call does that.
            raise LoweringError("its activation is built, by its name, in its first call")
    # What a rule has put into the graph before it refuses is taken out again.
    before = builder.mark()
    try:
        if isinstance(activation, keras.Layer):
            return _layer_as_activation(builder, value, activation, call)
        return _function(builder, value, activation, call, name)
    except TwoLayoutsError:
        raise
    except Exception as error:
        builder.undo(before)
        builder.fallbacks.append((unrecorded(layer), reason_of(error)))
    kwargs = {}
    if isinstance(activation, keras.Layer) and keras_layers.takes(activation, "training"):
        kwargs["training"] = call.training
    node = call_keras(builder, activation, (value,), kwargs)
    return Value(node, value.rank, value.dtype, guessed=True)


def _function(builder, value, activation, call, name):
    if activation is activations.softmax:
        _refuse_softmax_of_one(call, -1)
    value = float_value(builder.padded(value))
    if activation in ALONG_THE_CHANNELS:
        # Along Keras's last axis, which is torch's second of images.
        axis = 1 if value.torch_order else value.rank - 1
        node = builder.call(ALONG_THE_CHANNELS[activation], value.node, axis, name=name)
    elif activation is activations.leaky_relu:
        node = builder.call(F.leaky_relu, value.node, 0.2, name=name)
    elif activation is activations.gelu and value.torch_order:
        node = builder.call(gelu_of_images, value.node, name=name)
    elif activation in ELEMENTWISE:
        node = builder.call(ELEMENTWISE[activation], value.node, name=name)
    elif isinstance(activation, types.FunctionType):
        try:
            return builder.lower_function(activation, value, call.output.shape, call.training)
        except LoweringError as error:
            raise LoweringError(f"the activation {title(activation)}: {error}") from error
    else:
        raise LoweringError(f"the activation {title(activation)}")
    return value.with_node(node)


def _layer_as_activation(builder, value, activation, call):
    """A layer given as another layer's activation, by its own rule."""
    apply, reason = find_rule(activation), why_as_it_is(activation, builder.reads)
    if apply is None or reason is not None:
        raise LoweringError(f"the activation {title(activation)}: {reason or 'no rule'}")
    if takes_arguments(apply):
        raise LoweringError(f"the activation {title(activation)}, a layer that may take a mask")
    if activation.autocast:
        value = builder.cast(value, activation.input_dtype)
    inner = dataclasses.replace(call, name=f"{call.name}_{activation.name}", args=(value,))
    return apply(builder, Recorded(activation, builder.reads), [value], inner)


def _refuse_softmax_of_one(call, axis):
    """Keras warns of a softmax that is always 1, in every call."""
    if isinstance(axis, int) and call.output.shape[axis] == 1:
        raise LoweringError("a softmax over one number, of which Keras warns")


@rule(layers.Activation)
def activation(builder, layer, inputs, call):
    if layer.activation is activations.linear:
        return inputs[0]
    return _function(builder, inputs[0], layer.activation, call, call.name)


@rule(layers.ReLU, "keras.src.activations.activations.ReLU")
def relu(builder, layer, inputs, call):
    value = float_value(builder.padded(inputs[0]))
    slope, most = float(layer.negative_slope), layer.max_value
    if layer.threshold:
        raise LoweringError("threshold above 0")
    if slope and most is not None:
        raise LoweringError("negative_slope with max_value")
    if slope:
        node = builder.call(F.leaky_relu, value.node, slope, name=call.name)
    elif most is not None and float(most) == 6:
        node = builder.call(F.relu6, value.node, name=call.name)
    elif most is None:
        node = builder.call(torch.relu, value.node, name=call.name)
    else:
        # As Keras does it: the gradient at the upper bound is that of this function and this torch.
        bounds = [
            builder.constant(keras.ops.cast(bound, value.dtype), call.name) for bound in (0.0, most)
        ]
        node = builder.call(torch.relu, value.node)
        node = builder.call(torch.clamp, node, *bounds, name=call.name)
    return value.with_node(node)


@rule(layers.LeakyReLU)
def leaky_relu(builder, layer, inputs, call):
    value = float_value(builder.padded(inputs[0]))
    node = builder.call(F.leaky_relu, value.node, float(layer.negative_slope), name=call.name)
    return value.with_node(node)


@rule(layers.ELU)
def elu(builder, layer, inputs, call):
    value = float_value(builder.padded(inputs[0]))
    return value.with_node(builder.call(F.elu, value.node, float(layer.alpha), name=call.name))


@rule(layers.PReLU)
def prelu(builder, layer, inputs, call):
    value = float_value(inputs[0])
    alpha = builder.parameter(layer.alpha, AS_IS, layer.compute_dtype)
    slopes = Value(alpha, len(layer.alpha.shape), layer.compute_dtype)
    if value.dtype != layer.compute_dtype:
        raise LoweringError(f"of {value.dtype}")
    (node, alpha), torch_order = same_order(builder, [value, slopes])
    # Not torch's `prelu`, whose slope at 0 is another.
    below = builder.call(torch.relu, builder.call(torch.neg, node))
    above = builder.call(torch.relu, node)
    node = builder.call(torch.addcmul, above, alpha, below, value=-1, name=call.name)
    return value.with_node(node, torch_order=torch_order)


@rule(layers.Softmax, arguments=True)
def softmax(builder, layer, inputs, call):
    value, mask = call.arguments["inputs"], call.arguments["mask"]
    _refuse_softmax_of_one(call, layer.axis)
    value = float_value(value)
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    node = builder.keras_order(value)
    if mask is not None:
        axes = tuple(int(axis) for axis in axes)
        mask = builder.tensor(mask)
        node = builder.call(masked_softmax, node, mask, axes, name=call.name)
    elif len(axes) == 1:
        node = builder.call(torch.softmax, node, int(axes[0]), name=call.name)
    else:  # torch's softmax has one axis
        total = builder.call(torch.logsumexp, node, tuple(axes), True)
        node = builder.call(torch.exp, builder.call(torch.sub, node, total), name=call.name)
    return value.with_node(node, torch_order=False)
