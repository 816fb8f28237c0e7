"""Dropout, noise and what else only happens in training, by chance."""

import math

from keras_dawn.native.lowering import draws
from keras_dawn.native.lowering.dtypes import is_float, promoted, torch_dtype
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError

import keras
import torch
import torch.nn.functional as F
from keras import layers
from torch.fx.node import has_side_effect


def generator_of(builder, generator):
    """The node of a Keras `SeedGenerator`'s state, which a draw in the graph counts up."""
    builder.changes(generator.state)
    return builder.parameter(generator.state, AS_IS)


def _value_to_change(layer, inputs):
    (value,) = inputs
    if value.dtype != layer.compute_dtype or not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    return value


def _drop(builder, layer, inputs, call, shape):
    """Dropout that Keras draws from the layer's own generator, in Keras's order of axes."""
    value = _value_to_change(layer, inputs)
    node, rate = builder.keras_order(value), float(layer.rate)
    if rate == 1:
        node = builder.call(torch.zeros_like, node, name=call.name)
    else:
        state = generator_of(builder, layer.seed_generator)
        node = builder.call(draws.drop, node, state, rate, shape, name=call.name)
    return value.with_node(node, torch_order=False)


@rule(layers.Dropout)
def dropout(builder, layer, inputs, call):
    if not call.training or layer.rate == 0:
        return inputs[0]
    if layer.seed is not None or layer.noise_shape is not None or layer.rate == 1:
        return _drop(builder, layer, inputs, call, layer.noise_shape)
    # Here Keras asks torch's own generator, too.
    value = builder.padded(_value_to_change(layer, inputs))
    node = builder.call(F.dropout, value.node, float(layer.rate), True, name=call.name)
    return value.with_node(node)


@rule(layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)
def spatial_dropout(builder, layer, inputs, call):
    if not call.training or layer.rate == 0:
        return inputs[0]
    ones = (1,) * (inputs[0].rank - 2)
    last = inputs[0].rank == 3 or layer.data_format == "channels_last"
    shape = (None, *ones, None) if last else (None, None, *ones)
    return _drop(builder, layer, inputs, call, shape)


@rule(layers.GaussianNoise)
def gaussian_noise(builder, layer, inputs, call):
    if not call.training or layer.stddev == 0:
        return inputs[0]
    return _noise(builder, layer, inputs, call, torch.add, 0.0, float(layer.stddev))


@rule(layers.GaussianDropout)
def gaussian_dropout(builder, layer, inputs, call):
    if not call.training or layer.rate == 0:
        return inputs[0]
    deviation = math.sqrt(layer.rate / (1.0 - layer.rate))
    return _noise(builder, layer, inputs, call, torch.mul, 1.0, deviation)


def _noise(builder, layer, inputs, call, join, mean, deviation):
    value = _value_to_change(layer, inputs)
    node = builder.keras_order(value)
    state = generator_of(builder, layer.seed_generator)
    noise = builder.call(draws.normal_like, state, node, mean, deviation)
    node = builder.call(join, node, noise, name=call.name)
    return value.with_node(node, torch_order=False)


@rule(layers.AlphaDropout)
def alpha_dropout(builder, layer, inputs, call):
    if not call.training or layer.rate == 0:
        return inputs[0]
    value = _value_to_change(layer, inputs)
    shape = None if layer.noise_shape is None else tuple(layer.noise_shape)
    node = builder.call(
        drop_to_saturation,
        builder.keras_order(value),
        generator_of(builder, layer.seed_generator),
        float(layer.rate),
        shape,
        torch_dtype(keras.config.floatx()),
        name=call.name,
    )
    return value.with_node(node, torch_order=False)


SATURATION = -1.6732632423543772848170429916717 * 1.0507009873554804934193349852946  # SELU's


def drop_to_saturation(x, state, rate, shape, dtype):
    """Alpha dropout: what is dropped becomes SELU's lowest value, mean and variance stay.

    Args:
        x: tensor of floats.
        state, rate, shape: see `draws.drop`.
        dtype: that the draws are made in.
    """
    kept = (draws.uniform(state, x, shape, dtype=dtype) >= rate).to(x.dtype)
    # What keeps mean 0 and variance 1 (Klambauer et al. 2017, arXiv:1706.02515, section 3).
    scale = ((1 - rate) * (1 + rate * SATURATION**2)) ** -0.5
    return scale * (x * kept + SATURATION * (1 - kept)) - scale * SATURATION * rate


@rule("keras.src.applications.convnext.StochasticDepth")
def stochastic_depth(builder, layer, inputs, call):
    if not call.training:
        return inputs[0]
    value, rate = builder.padded(_value_to_change(layer, inputs)), float(layer.drop_path_rate)
    dtype = torch_dtype(keras.config.floatx())
    builder.changes()
    node = builder.call(drop_paths, value.node, rate, dtype, name=call.name)
    numbers = torch.empty((1,) * value.rank, dtype=dtype, device="meta")
    return value.with_node(node, dtype=promoted(value, numbers), torch_order=value.torch_order)


@has_side_effect
def drop_paths(x, rate, dtype):
    """Drops whole samples; draws from Keras's own generator, in training also at a rate of 0.

    Args:
        x: tensor of floats, the batch first.
        rate: float, the fraction that becomes 0.
        dtype: that the draws are made in.
    """
    drawn = draws.uniform(None, x, (None,) + (1,) * (x.ndim - 1), dtype=dtype)
    return (x / (1 - rate)) * torch.floor((1 - rate) + drawn)


@rule(layers.ActivityRegularization)
def activity_regularization(builder, layer, inputs, call):
    if call.training:
        raise LoweringError("in training")
    return inputs[0]
