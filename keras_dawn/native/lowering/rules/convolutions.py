"""Convolutions and dense layers."""

from keras_dawn.native.lowering.dtypes import result_type
from keras_dawn.native.lowering.graph import LoweringError
from keras_dawn.native.lowering.layouts import AS_IS, CONVOLUTION, DENSE, DEPTHWISE
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.activations import activate

import torch
from keras import layers


def same_padding(size, kernel, stride, dilation=1):
    """Zeros before and after one axis under Keras's "same", as `(before, after)`."""
    reach = (kernel - 1) * dilation + 1
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def pad_same(images, kernel, stride, dilation=(1, 1), mode="constant"):
    """Pads images `(batch, channels, height, width)` as Keras's "same" does."""
    before_after = [
        same_padding(images.shape[2 + axis], kernel[axis], stride[axis], dilation[axis])
        for axis in (1, 0)
    ]
    flat = [length for pair in before_after for length in pair]
    return torch.nn.functional.pad(images, flat, mode=mode) if any(flat) else images


def resolve_padding(builder, value, layer_format, padding, sizes, geometry, mode="constant"):
    """The image node and the padding that torch can apply itself.

    Args:
        value: the input `Value`; padding that waits there is used up if it fits.
        layer_format: the layer's `data_format`.
        padding: `"valid"` or `"same"`.
        sizes: height and width, `None` where unknown.
        geometry: `(kernel, stride, dilation)`, each a pair.
        mode: what "same" pads with: `"constant"` or `"replicate"`.
    """
    if padding not in ("valid", "same"):
        raise LoweringError(f"padding={padding!r}")
    if padding == "valid":
        in_order = value.torch_order == (layer_format == "channels_last")
        if value.padding is not None and mode == "constant" and in_order:
            return builder.image(value, layer_format, keep_padding=True), value.padding
        return builder.image(value, layer_format), (0, 0)
    kernel, stride, dilation = geometry
    node = builder.image(value, layer_format)
    known = all(size is not None or step == 1 for size, step in zip(sizes, stride, strict=True))
    if known:
        pairs = [
            same_padding(sizes[axis] or 0, kernel[axis], stride[axis], dilation[axis])
            for axis in (0, 1)
        ]
        if all(before == after for before, after in pairs):
            return node, tuple(before for before, _ in pairs)
    return builder.call(pad_same, node, kernel, stride, dilation, mode), (0, 0)


def spatial_sizes(shape, data_format):
    """Height and width in a Keras shape."""
    return shape[1:3] if data_format == "channels_last" else shape[2:4]


def _convolve(builder, layer, value, call, weight, bias, groups, name, geometry=None):
    data_format = layer.data_format
    kernel, stride, dilation = geometry or (
        tuple(layer.kernel_size),
        tuple(layer.strides),
        tuple(layer.dilation_rate),
    )
    node, padding = resolve_padding(
        builder,
        value,
        data_format,
        layer.padding,
        spatial_sizes(call.shapes[0], data_format),
        (kernel, stride, dilation),
    )
    node = builder.call(
        torch.conv2d, node, weight, bias, stride, padding, dilation, groups, name=name
    )
    return value.with_node(node, torch_order=data_format == "channels_last")


def bias_of(builder, layer):
    """The layer's bias as a parameter, or `None`."""
    if layer.bias is None:  # what the layer's call looks at
        return None
    return builder.parameter(layer.bias, AS_IS, layer.compute_dtype)


@rule(layers.Conv2D)
def conv2d(builder, layer, inputs, call):
    weight = builder.parameter(layer.kernel, CONVOLUTION, layer.compute_dtype)
    value = _convolve(
        builder, layer, inputs[0], call, weight, bias_of(builder, layer), layer.groups, call.name
    )
    return activate(builder, value, layer, call)


@rule(layers.DepthwiseConv2D)
def depthwise_conv2d(builder, layer, inputs, call):
    weight = builder.parameter(layer.kernel, DEPTHWISE, layer.compute_dtype)
    channels = layer.kernel.shape[2]
    value = _convolve(
        builder, layer, inputs[0], call, weight, bias_of(builder, layer), channels, call.name
    )
    return activate(builder, value, layer, call)


@rule(layers.SeparableConv2D)
def separable_conv2d(builder, layer, inputs, call):
    depthwise = builder.parameter(layer.depthwise_kernel, DEPTHWISE, layer.compute_dtype)
    pointwise = builder.parameter(layer.pointwise_kernel, CONVOLUTION, layer.compute_dtype)
    channels = layer.depthwise_kernel.shape[2]
    value = _convolve(
        builder, layer, inputs[0], call, depthwise, None, channels, f"{call.name}_depthwise"
    )
    node = builder.call(
        torch.conv2d, value.node, pointwise, bias_of(builder, layer), name=call.name
    )
    value = value.with_node(node)
    return activate(builder, value, layer, call)


@rule(layers.Dense)
def dense(builder, layer, inputs, call):
    # Where a gradient arrives in the variable's own tensor, a view of it costs more than it saves.
    as_it_is = builder.views is None and inputs[0].rank == 2
    weight = builder.parameter(layer.kernel, AS_IS if as_it_is else DENSE, layer.compute_dtype)
    # Integers are cast as Keras's matmul does it.
    value = builder.to(inputs[0], result_type(inputs[0].dtype, layer.compute_dtype))
    if value.dtype != layer.compute_dtype:
        raise LoweringError(f"of {inputs[0].dtype}")
    x, bias = builder.keras_order(value), bias_of(builder, layer)
    if not as_it_is:
        node = builder.call(torch._C._nn.linear, x, weight, bias, name=call.name)
    elif bias is None:
        node = builder.call(torch.mm, x, weight, name=call.name)
    else:
        node = builder.call(torch.addmm, bias, x, weight, name=call.name)
    return activate(builder, value.with_node(node, torch_order=False), layer, call)
