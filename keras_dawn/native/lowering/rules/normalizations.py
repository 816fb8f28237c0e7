"""Normalisation of layers and data, and fixed scaling."""

from keras_dawn.native.half_normalizations import layer_norm_in_half
from keras_dawn.native.lowering.dtypes import HALF, is_float, promoted, result_type
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.merging import same_order
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import torch
from keras import layers


@rule(layers.LayerNormalization)
def layer_normalization(builder, layer, inputs, call):
    (value,) = inputs
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    axes = [axis if axis >= 0 else axis + value.rank for axis in axes]
    shape = [call.shapes[0][axis] for axis in axes]
    if None in shape:
        raise LoweringError(f"axes {layer.axis}")
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    wide = result_type(value.dtype, "float32")  # as Keras computes it
    last = axes == list(range(value.rank - len(axes), value.rank))
    kernel = last and not layer.rms_scaling
    half = value.dtype in HALF and value.dtype == layer.compute_dtype
    narrow = kernel and half and not builder.training  # whose gradients want the copy anyway
    wider = value if narrow else builder.to(value, wide)
    gamma = None if layer.gamma is None else builder.parameter(layer.gamma, AS_IS, wide)
    beta = None if layer.beta is None else builder.parameter(layer.beta, AS_IS, wide)
    node = builder.keras_order(wider)
    if kernel:
        function = layer_norm_in_half if narrow else torch.layer_norm
        args = node, shape, gamma, beta, layer.epsilon
    else:
        if not layer.rms_scaling and axes == list(range(axes[0], axes[-1] + 1)):
            # Keras calls torch's kernel, which takes the last axes whatever it is told.
            raise LoweringError(f"axes {layer.axis}")
        spread = [size if n in axes else 1 for n, size in enumerate(call.shapes[0])]
        gamma, beta = (
            part if part is None else builder.call(torch.reshape, part, spread)
            for part in (gamma, beta)
        )
        function = scaled_by_deviation if layer.rms_scaling else normalized_over
        args = node, tuple(axes), gamma, beta, layer.epsilon
    node = builder.call(function, *args, name=call.name)
    result = builder.to(wider.with_node(node, torch_order=False), value.dtype)
    return builder.to(result, layer.compute_dtype)


def normalized_over(x, axes, gamma, beta, epsilon):
    """Layer normalisation over axes that are not the last ones, with Keras's variance."""
    mean = x.mean(axes, keepdim=True)
    # Keras's formula, in which large means lose digits: torch's `var` would be another number.
    variance = x.square().mean(axes, keepdim=True) - mean.square()
    factor = torch.rsqrt(variance + epsilon)
    factor = factor if gamma is None else factor * gamma
    offset = -mean * factor
    return x * factor + (offset if beta is None else offset + beta)


def scaled_by_deviation(x, axes, gamma, beta, epsilon):
    """What Keras's deprecated `rms_scaling` does: it leaves the mean where it is."""
    scaled = x * torch.rsqrt(x.var(axes, correction=0, keepdim=True) + epsilon)
    return scaled if gamma is None else scaled * gamma


@rule(layers.Rescaling)
def rescaling(builder, layer, inputs, call):
    dtype = layer.compute_dtype
    parts = [builder.to(builder.padded(inputs[0]), dtype)]
    for name in ("scale", "offset"):
        setting = getattr(layer, name)
        if isinstance(setting, keras.Variable):
            raise LoweringError("a variable as scale or offset")
        tensor = keras.ops.cast(setting, dtype)
        if tensor.ndim and name == "scale" and _channels_first():
            tensor = tensor.reshape(tuple(tensor.shape) + (1,) * (3 - tensor.ndim))
        parts.append(Value(None, tensor.ndim, dtype))
        # The number that it is in the layer's dtype, or an array of them.
        parts[-1].node = builder.constant(tensor, call.name) if tensor.ndim else float(tensor)
    (value, scale, offset), torch_order = same_order(builder, parts)
    node = builder.call(torch.mul, value, scale, name=call.name)
    if offset != 0.0:
        node = builder.call(torch.add, node, offset)
    rank = max(part.rank for part in parts)
    return parts[0].with_node(node, rank=rank, torch_order=torch_order)


def _channels_first():
    return keras.config.image_data_format() == "channels_first"


@rule(layers.Normalization)
def normalization(builder, layer, inputs, call):
    dtype = layer.compute_dtype
    value = builder.to(builder.padded(inputs[0]), dtype)
    mean, variance = (
        _setting(builder, layer, name, value.rank, call) for name in ("mean", "variance")
    )
    (node, mean, variance), torch_order = same_order(builder, [value, mean, variance])
    deviation = builder.call(torch.sqrt, variance)
    deviation = builder.call(torch.clamp, deviation, keras.config.epsilon())
    if layer.invert:
        node = builder.call(torch.mul, node, deviation)
        node = builder.call(torch.add, mean, node, name=call.name)
    else:
        node = builder.call(torch.sub, node, mean)
        node = builder.call(torch.div, node, deviation, name=call.name)
    return value.with_node(node, torch_order=torch_order)


def _setting(builder, layer, name, rank, call):
    """The layer's mean or variance, with ones for the axes that share it.

    What the layer has adapted to is read from its variables' memory, where `adapt` and
    `load_weights` write, as long as its own tensor is a view of it. What it was given is a
    constant, and so is what was put there later, or cast.
    """
    _give_numbers(layer)
    kept, dtype = getattr(layer, name), layer.compute_dtype
    variable = None if layer.input_mean is not None else getattr(layer, f"adapt_{name}")
    if variable is not None and _is_view_of(kept, variable.value):
        node = builder.parameter(variable, AS_IS, dtype)
        return Value(builder.call(torch.reshape, node, tuple(kept.shape)), rank, dtype)
    kept = keras.ops.cast(kept, dtype).detach()
    if kept.ndim > rank:
        raise LoweringError(f"a {name} of {kept.ndim} axes")
    return Value(builder.constant(kept, call.name), kept.ndim, dtype)


def _give_numbers(layer):
    """Gives the layer the mean and variance that it was made with, where its own have no numbers.

    Keras built it on torch's meta device then, as it does a `Sequential` without an `Input`, and
    plain Keras computes with whatever lies in memory.
    """
    if layer.input_mean is None or not getattr(layer.mean, "is_meta", False):
        return
    other = layers.Normalization.from_config(layer.get_config())
    other.build(layer._build_input_shape)
    layer.mean, layer.variance = other.mean, other.variance


def _is_view_of(kept, tensor):
    if not isinstance(kept, torch.Tensor) or kept.numel() != tensor.numel():
        return False
    return kept.data_ptr() == tensor.data_ptr() and kept.dtype == tensor.dtype


@rule("keras.src.applications.convnext.LayerScale")
def layer_scale(builder, layer, inputs, call):
    gamma = builder.parameter(layer.gamma, AS_IS, layer.compute_dtype)
    scale = Value(gamma, 1, layer.compute_dtype)
    (node, gamma), torch_order = same_order(builder, [inputs[0], scale])
    dtype = promoted(inputs[0], scale)
    node = builder.call(torch.mul, node, gamma, name=call.name)
    return inputs[0].with_node(node, dtype=dtype, torch_order=torch_order)


@rule("keras.src.applications.inception_resnet_v2.CustomScaleLayer")
def custom_scale(builder, layer, inputs, call):
    if len({(value.rank, value.dtype) for value in inputs}) > 1 or not is_float(inputs[0].dtype):
        raise LoweringError("inputs of different ranks or dtypes")
    nodes, torch_order = same_order(builder, inputs)
    scaled = builder.call(torch.mul, nodes[1], float(layer.scale))
    node = builder.call(torch.add, nodes[0], scaled, name=call.name)
    return inputs[0].with_node(node, torch_order=torch_order)
