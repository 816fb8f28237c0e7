"""Dropout and what else only happens in training, by chance."""

from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.lowering.rules import rule

import torch
import torch.nn.functional as F
from keras import layers


def _value_to_drop_from(builder, layer, inputs):
    """The layer's input, if torch's generator may do the draws."""
    if getattr(layer, "seed", None) is not None:
        raise LoweringError("a seed of its own, whose draws only Keras makes")
    if not is_float(inputs[0].dtype):
        raise LoweringError(f"of {inputs[0].dtype}")
    return builder.padded(inputs[0])


@rule(layers.Dropout)
def dropout(builder, layer, inputs, call):
    if not call.training or layer.rate == 0:
        return inputs[0]
    value = _value_to_drop_from(builder, layer, inputs)
    shape = layer.noise_shape
    if shape is None:
        node = builder.call(F.dropout, value.node, float(layer.rate), True, name=call.name)
        return value.with_node(node)
    if len(shape) != value.rank:
        raise LoweringError("a noise_shape of another rank")
    if value.torch_order:
        shape = [shape[axis] for axis in (0, 3, 1, 2)]
    node = builder.call(drop_together, value.node, float(layer.rate), tuple(shape), name=call.name)
    return value.with_node(node)


def drop_together(x, rate, shape):
    """Dropout with one draw for all elements along the axes where `shape` is 1."""
    if rate == 1:
        return torch.zeros_like(x)
    shape = [
        size if wanted is None else wanted for size, wanted in zip(x.shape, shape, strict=True)
    ]
    mask = torch.empty(shape, dtype=x.dtype, device=x.device).bernoulli_(1 - rate)
    return x * mask.div_(1 - rate)


@rule(layers.SpatialDropout2D)
def spatial_dropout(builder, layer, inputs, call):
    if not call.training or layer.rate == 0:
        return inputs[0]
    value = _value_to_drop_from(builder, layer, inputs)
    node = builder.image(value, layer.data_format)
    node = builder.call(F.dropout2d, node, float(layer.rate), True, name=call.name)
    return value.with_node(node, torch_order=layer.data_format == "channels_last")


@rule("keras.src.applications.convnext.StochasticDepth")
def stochastic_depth(builder, layer, inputs, call):
    if not call.training or layer.drop_path_rate == 0:
        return inputs[0]
    value = _value_to_drop_from(builder, layer, inputs)
    shape = (None,) + (1,) * (value.rank - 1)
    node = builder.call(
        drop_together, value.node, float(layer.drop_path_rate), shape, name=call.name
    )
    return value.with_node(node)


@rule(
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.ActivityRegularization,
)
def only_in_training(builder, layer, inputs, call):
    if call.training:
        raise LoweringError("in training")
    return inputs[0]
