"""Activations, as layers and as arguments of other layers."""

from keras_dawn.native.lowering.graph import LoweringError, Value
from keras_dawn.native.lowering.rules import rule

import torch
import torch.nn.functional as F
from keras import activations, layers

ELEMENTWISE = {
    activations.relu: torch.relu,
    activations.relu6: F.relu6,
    activations.sigmoid: torch.sigmoid,
    activations.tanh: torch.tanh,
    activations.silu: F.silu,
    activations.elu: F.elu,
    activations.selu: torch.selu,
    activations.softplus: F.softplus,
    activations.softsign: F.softsign,
    activations.mish: F.mish,
    activations.exponential: torch.exp,
    activations.hard_sigmoid: F.hardsigmoid,
    activations.hard_silu: F.hardswish,
}


def activate(builder, value, activation, name=None):
    """Applies a Keras activation function to a value."""
    if activation is None or activation is activations.linear:
        return value
    value = builder.padded(value)
    if activation in (activations.softmax, activations.log_softmax):
        function = torch.softmax if activation is activations.softmax else torch.log_softmax
        axis = 1 if value.torch_order else value.rank - 1
        node = builder.call(function, value.node, axis, name=name)
    elif activation is activations.gelu:
        node = builder.call(F.gelu, value.node, name=name)
    elif activation is activations.leaky_relu:
        node = builder.call(F.leaky_relu, value.node, 0.2, name=name)
    elif activation in ELEMENTWISE:
        node = builder.call(ELEMENTWISE[activation], value.node, name=name)
    else:
        title = getattr(activation, "__name__", type(activation).__name__)
        raise LoweringError(f"the activation {title}")
    return Value(node, value.rank, value.dtype, value.torch_order)


@rule(layers.Activation)
def activation(builder, layer, inputs, call):
    return activate(builder, inputs[0], layer.activation, call.name)


@rule(layers.ReLU)
def relu(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    if layer.threshold:
        raise LoweringError("threshold above 0")
    if layer.negative_slope:
        if layer.max_value is not None:
            raise LoweringError("negative_slope with max_value")
        node = builder.call(F.leaky_relu, value.node, float(layer.negative_slope), name=call.name)
    elif layer.max_value is None:
        node = builder.call(torch.relu, value.node, name=call.name)
    else:
        node = builder.call(F.hardtanh, value.node, 0.0, float(layer.max_value), name=call.name)
    return Value(node, value.rank, value.dtype, value.torch_order)


@rule(layers.LeakyReLU)
def leaky_relu(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    node = builder.call(F.leaky_relu, value.node, float(layer.negative_slope), name=call.name)
    return Value(node, value.rank, value.dtype, value.torch_order)


@rule(layers.ELU)
def elu(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    node = builder.call(F.elu, value.node, float(layer.alpha), name=call.name)
    return Value(node, value.rank, value.dtype, value.torch_order)


@rule(layers.Softmax)
def softmax(builder, layer, inputs, call):
    if not isinstance(layer.axis, int) or len(inputs) != 1:
        raise LoweringError("several axes, or a mask")
    node = builder.call(torch.softmax, builder.keras_order(inputs[0]), layer.axis, name=call.name)
    return Value(node, inputs[0].rank, inputs[0].dtype)


@rule(layers.Dropout)
def dropout(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    if not call.training or layer.rate == 0:
        return value
    shape = layer.noise_shape
    if shape is None:
        node = builder.call(F.dropout, value.node, layer.rate, True, name=call.name)
    else:
        if value.torch_order:
            shape = [shape[axis] for axis in (0, 3, 1, 2)]
        node = builder.call(drop_together, value.node, layer.rate, tuple(shape), name=call.name)
    return Value(node, value.rank, value.dtype, value.torch_order)


def drop_together(x, rate, shape):
    """Dropout with one draw for all elements along the axes where `shape` is 1."""
    shape = [
        size if wanted is None else wanted for size, wanted in zip(x.shape, shape, strict=True)
    ]
    mask = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - rate)
    return x * mask.div_(1 - rate)


@rule(layers.SpatialDropout2D)
def spatial_dropout(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    if not call.training or layer.rate == 0:
        return value
    node = builder.image(value, layer.data_format)
    node = builder.call(F.dropout2d, node, layer.rate, True, name=call.name)
    return Value(node, value.rank, value.dtype, layer.data_format == "channels_last")


@rule("keras.src.applications.convnext.StochasticDepth")
def stochastic_depth(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    if not call.training or layer.drop_path_rate == 0:
        return value
    shape = (None,) + (1,) * (value.rank - 1)
    node = builder.call(drop_together, value.node, layer.drop_path_rate, shape, name=call.name)
    return Value(node, value.rank, value.dtype, value.torch_order)
