"""Normalisation and fixed scaling."""

import operator

from keras_dawn.distributed.ranks import current
from keras_dawn.native.lowering.graph import AS_IS, LoweringError, Value
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.merging import same_order
from keras_dawn.native.synchronized import synchronized_batch_norm

import torch
from keras import layers


@rule(layers.BatchNormalization)
def batch_normalization(builder, layer, inputs, call):
    (value,) = inputs
    if layer.renorm:
        raise LoweringError("renorm")
    axis = layer.axis if layer.axis >= 0 else layer.axis + value.rank
    if value.rank == 4 and axis == 3:
        node, torch_order = builder.image(value, "channels_last"), True
    elif axis == 1:
        node, torch_order = builder.keras_order(value), False
    else:
        raise LoweringError(f"axis {layer.axis} of {value.rank}")
    dtype = value.dtype
    half_out = layer.compute_dtype
    if dtype not in (half_out, "float16", "bfloat16"):
        value = builder.cast(Value(node, value.rank, dtype, torch_order), half_out)
        node, dtype = value.node, half_out
    gamma, beta = _gamma_and_beta(builder, layer, call.name)
    synchronized = layer.synchronized and current().several
    if call.training and layer.trainable and (builder.collect_statistics or synchronized):
        if synchronized:
            function, args = synchronized_batch_norm, (node, gamma, beta, layer.epsilon)
        else:
            function = torch.native_batch_norm
            args = (node, gamma, beta, None, None, True, 0.0, layer.epsilon)
        outputs = builder.call(function, *args)
        node = builder.call(operator.getitem, outputs, 0, name=call.name)
        mean = builder.call(operator.getitem, outputs, 1)
        inverse_deviation = builder.call(operator.getitem, outputs, 2)
        builder.statistics.append((layer, mean, inverse_deviation))
    else:
        node = builder.call(
            torch.batch_norm,
            node,
            gamma,
            beta,
            builder.parameter(layer.moving_mean, AS_IS),
            builder.parameter(layer.moving_variance, AS_IS),
            call.training and layer.trainable,
            round(1.0 - layer.momentum, 12),
            layer.epsilon,
            torch.backends.cudnn.enabled,
            name=call.name,
        )
    return builder.cast(Value(node, value.rank, dtype, torch_order), layer.compute_dtype)


def _gamma_and_beta(builder, layer, name):
    gamma = builder.parameter(layer.gamma, AS_IS) if layer.scale else None
    beta = builder.parameter(layer.beta, AS_IS) if layer.center else None
    if gamma is None and beta is not None:
        # On CUDA torch (2.11 to 2.14) fails in the backward pass of beta where there is no gamma.
        gamma = _constant(builder, torch.ones_like(layer.beta.value).detach(), name)
    return gamma, beta


@rule(layers.LayerNormalization)
def layer_normalization(builder, layer, inputs, call):
    (value,) = inputs
    axes = [axis if axis >= 0 else axis + value.rank for axis in _as_list(layer.axis)]
    if axes != list(range(value.rank - len(axes), value.rank)):
        raise LoweringError(f"axes {layer.axis}")
    if getattr(layer, "rms_scaling", False):
        raise LoweringError("rms_scaling")
    shape = [call.shapes[0][axis] for axis in axes]
    value = Value(builder.keras_order(value), value.rank, value.dtype)
    half = value.dtype in ("float16", "bfloat16")
    value = builder.cast(value, "float32") if half else value  # as Keras computes it
    node = builder.call(
        torch.layer_norm,
        value.node,
        shape,
        builder.parameter(layer.gamma, AS_IS) if layer.scale else None,
        builder.parameter(layer.beta, AS_IS) if layer.center else None,
        layer.epsilon,
        name=call.name,
    )
    return builder.cast(Value(node, value.rank, value.dtype), layer.compute_dtype)


@rule(layers.Rescaling)
def rescaling(builder, layer, inputs, call):
    if not isinstance(layer.scale, (int, float)) or not isinstance(layer.offset, (int, float)):
        raise LoweringError("a scale or offset per channel")
    value = _as_float(builder, builder.padded(inputs[0]), layer.compute_dtype)
    node = builder.call(torch.mul, value.node, float(layer.scale), name=call.name)
    if layer.offset:
        node = builder.call(torch.add, node, float(layer.offset))
    return Value(node, value.rank, layer.compute_dtype, value.torch_order)


@rule(layers.Normalization)
def normalization(builder, layer, inputs, call):
    value = _as_float(builder, builder.padded(inputs[0]), layer.compute_dtype)
    # mean and variance have the input's rank, ones where they are shared
    mean = torch.as_tensor(layer.mean).detach().to(getattr(torch, layer.compute_dtype))
    deviation = torch.as_tensor(layer.variance).detach().to(mean.dtype).sqrt().clamp(min=1e-7)
    if layer.invert:
        raise LoweringError("invert=True")
    mean, deviation = (_constant(builder, t, call.name) for t in (mean, deviation))
    node = builder.call(torch.sub, builder.keras_order(value), mean)
    node = builder.call(torch.div, node, deviation, name=call.name)
    return Value(node, value.rank, layer.compute_dtype)


@rule("keras.src.applications.convnext.LayerScale")
def layer_scale(builder, layer, inputs, call):
    value = inputs[0]
    gamma = builder.parameter(layer.gamma, AS_IS, layer.compute_dtype)
    node = builder.call(torch.mul, builder.keras_order(value), gamma, name=call.name)
    return Value(node, value.rank, value.dtype)


@rule("keras.src.applications.inception_resnet_v2.CustomScaleLayer")
def custom_scale(builder, layer, inputs, call):
    nodes, torch_order = same_order(builder, inputs)
    scaled = builder.call(torch.mul, nodes[1], float(layer.scale))
    node = builder.call(torch.add, nodes[0], scaled, name=call.name)
    return Value(node, inputs[0].rank, inputs[0].dtype, torch_order)


def _as_float(builder, value, dtype):
    if value.dtype == dtype:
        return value
    node = builder.graph.call_method("to", (value.node, getattr(torch, dtype)))
    return Value(node, value.rank, dtype, value.torch_order)


def _as_list(axis):
    return list(axis) if isinstance(axis, (list, tuple)) else [axis]


def _constant(builder, tensor, name):
    """A tensor that is no parameter, kept in a buffer."""
    attribute = f"{name}_constant_{len(list(builder.root.buffers()))}"
    builder.root.register_buffer(attribute, tensor, persistent=False)
    return builder.graph.get_attr(attribute)
