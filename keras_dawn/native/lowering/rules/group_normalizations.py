"""Normalisation of each example by itself, in groups or along axes."""

from keras_dawn.native.half_normalizations import group_norm_in_half
from keras_dawn.native.lowering.dtypes import HALF, result_type
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value, float_value

import keras
import torch
from keras import layers


@rule(layers.GroupNormalization)
def group_normalization(builder, layer, inputs, call):
    value = float_value(inputs[0])
    axis, last = layer.axis, value.rank - 1
    if axis < -1:
        raise LoweringError(f"axis {axis}")
    if last == 1 and layer.groups == call.shapes[0][1]:
        # The result is 0 whatever the input: its gradient is nothing but rounding, which Adam makes
        # as large as any other.
        raise LoweringError("groups of one number")
    narrow = value.dtype in HALF and value.dtype == layer.compute_dtype
    # As Keras computes it, be it inside of torch's kernel.
    wide = value if narrow else builder.to(value, result_type(value.dtype, "float32"))
    image = last > 1 and axis in (-1, last)
    node = builder.image(wide, "channels_last") if image else builder.keras_order(wide)
    moved = axis not in (-1, 1, last) and not image
    if moved:
        node = builder.call(torch.movedim, node, axis, 1)
    weights = "float32" if narrow else wide.dtype
    gamma, beta = (
        builder.parameter(getattr(layer, name), AS_IS, weights) if is_used else None
        for name, is_used in (("gamma", layer.scale), ("beta", layer.center))
    )
    if gamma is None and beta is not None:  # which torch 2.11 cannot differentiate
        ones = torch.ones_like(layer.beta.value, dtype=getattr(torch, weights)).detach()
        gamma = builder.constant(ones, call.name)
    groups, epsilon = int(layer.groups), float(layer.epsilon)
    cudnn = torch.backends.cudnn.enabled
    function = group_norm_in_half if narrow else torch.group_norm
    node = builder.call(function, node, groups, gamma, beta, epsilon, cudnn, name=call.name)
    if moved:
        node = builder.call(torch.movedim, node, 1, axis)
    result = wide.with_node(node, torch_order=image)
    return builder.to(builder.to(result, value.dtype), layer.compute_dtype)


def _check_trailing(layer, value):
    """Raises `LoweringError` unless the axes of a layer are the last ones."""
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    axes = sorted(axis if axis >= 0 else axis + value.rank for axis in axes)
    if axes != list(range(value.rank - len(axes), value.rank)):
        raise LoweringError(f"axes {layer.axis}")


@rule(layers.RMSNormalization)
def rms_normalization(builder, layer, inputs, call):
    value = float_value(inputs[0])
    _check_trailing(layer, value)
    pairs = zip(reversed(call.shapes[0]), reversed(layer.scale.shape), strict=False)
    if any(size not in (None, weights) for size, weights in pairs):
        raise LoweringError("weights in another order than the axes")
    wide = builder.to(value, result_type(value.dtype, "float32"))
    scale = builder.parameter(layer.scale, AS_IS, layer.compute_dtype)
    scale = builder.to(Value(scale, len(layer.scale.shape), layer.compute_dtype), wide.dtype)
    node = builder.call(
        torch.rms_norm,
        builder.keras_order(wide),
        tuple(layer.scale.shape),
        scale.node,
        float(layer.epsilon),
        name=call.name,
    )
    return builder.to(wide.with_node(node, torch_order=False), value.dtype)


@rule(layers.UnitNormalization)
def unit_normalization(builder, layer, inputs, call):
    value = float_value(inputs[0])
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    node = builder.keras_order(value)
    total = builder.call(torch.sum, builder.call(torch.square, node), tuple(axes), True)
    # Keras bounds the reciprocal root, not the sum under it: at 0 the gradient is not finite there
    # either.
    most = builder.constant(keras.ops.cast(1e12, value.dtype), call.name)
    scale = builder.call(torch.minimum, builder.call(torch.rsqrt, total), most)
    node = builder.call(torch.mul, node, scale, name=call.name)
    return value.with_node(node, torch_order=False)
