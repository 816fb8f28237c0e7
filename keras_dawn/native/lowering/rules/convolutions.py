"""Convolutions over one, two and three axes."""

from keras_dawn.convolutions.convolve import conv2d, may_gain
from keras_dawn.native.lowering.layouts import AS_IS, convolution, depthwise
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.activations import activate
from keras_dawn.native.lowering.rules.images import axis_sizes, resolve_padding
from keras_dawn.native.lowering.rules.series import conv1d, conv1d_by_ways, product
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.transposed_convolutions import (
    conv_transpose1d,
    conv_transpose2d,
    conv_transpose3d,
)

import torch
from keras import layers

CONVOLVE = {1: conv1d, 2: torch.conv2d, 3: torch.conv3d}
BY_WAYS = {1: conv1d_by_ways, 2: conv2d}
CONVOLVE_TRANSPOSED = {1: conv_transpose1d, 2: conv_transpose2d, 3: conv_transpose3d}


def function_for(layer, kernel, groups=1, each=False):
    """What convolves with a layer's kernel: by other ways than torch's own where that may gain.

    Args:
        layer: the layer.
        kernel: its Keras variable.
        groups: int.
        each: bool, whether the kernel has some filters for each channel.
    """
    channels, filters = kernel.shape[-2:]
    channels, filters = (channels, channels * filters) if each else (channels * groups, filters)
    device = kernel.value.device.type
    if layer.rank in BY_WAYS and may_gain(channels, filters, layer.compute_dtype, device, groups):
        return BY_WAYS[layer.rank]
    return CONVOLVE[layer.rank]


def _convolve(builder, layer, value, call, parameters, name, groups=None):
    """A convolution in groups, or of each channel for itself where no number of them is given."""
    kernel, weight, bias = parameters
    data_format = layer.data_format
    geometry = tuple(layer.kernel_size), tuple(layer.strides), tuple(layer.dilation_rate)
    node, padding = resolve_padding(
        builder,
        value,
        data_format,
        layer.padding,
        axis_sizes(call.shapes[0], data_format),
        geometry,
    )
    _, stride, dilation = geometry
    each = groups is None
    groups = kernel.shape[layer.rank] if each else groups
    if _is_product(layer, kernel, padding, groups):
        node = builder.call(product, node, weight, bias, name=name)
    else:
        function = function_for(layer, kernel, groups, each)
        settings = weight, bias, stride, padding, dilation, groups
        node = builder.call(function, node, *settings, name=name)
    return value.with_node(node, torch_order=data_format == "channels_last")


def _is_product(layer, kernel, padding, groups):
    """Whether a convolution of series multiplies each step by a matrix, on a CPU.

    On a GPU it remains a convolution, whose precision is set by another switch of torch's.
    """
    one = tuple(layer.kernel_size) == tuple(layer.strides) == (1,) and not any(padding)
    on_cpu = kernel.value.device.type == "cpu"
    return one and groups == 1 and layer.data_format == "channels_last" and on_cpu


def bias_of(builder, layer):
    """The bias that a convolution adds, as a parameter, or `None`."""
    if not layer.use_bias:  # what the layer's call looks at
        return None
    return builder.parameter(layer.bias, AS_IS, layer.compute_dtype)


@rule(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def conv(builder, layer, inputs, call):
    weight = builder.parameter(layer.kernel, convolution(layer.rank), layer.compute_dtype)
    parameters = layer.kernel, weight, bias_of(builder, layer)
    value = _convolve(builder, layer, inputs[0], call, parameters, call.name, layer.groups)
    return activate(builder, value, layer, call)


@rule(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def depthwise_conv(builder, layer, inputs, call):
    weight = builder.parameter(layer.kernel, depthwise(layer.rank), layer.compute_dtype)
    parameters = layer.kernel, weight, bias_of(builder, layer)
    value = _convolve(builder, layer, inputs[0], call, parameters, call.name)
    return activate(builder, value, layer, call)


@rule(layers.SeparableConv1D, layers.SeparableConv2D)
def separable_conv(builder, layer, inputs, call):
    rank, dtype = layer.rank, layer.compute_dtype
    # Two convolutions: a filter for each channel, then one pixel across the channels.
    each = builder.parameter(layer.depthwise_kernel, depthwise(rank), dtype)
    across = builder.parameter(layer.pointwise_kernel, convolution(rank), dtype)
    parameters = layer.depthwise_kernel, each, None
    value = _convolve(builder, layer, inputs[0], call, parameters, f"{call.name}_each")
    bias = bias_of(builder, layer)
    none, one = (0,) * rank, (1,) * rank
    convolve = function_for(layer, layer.pointwise_kernel)
    node = builder.call(convolve, value.node, across, bias, one, none, one, 1, name=call.name)
    return activate(builder, value.with_node(node), layer, call)


@rule(layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
def transposed_conv(builder, layer, inputs, call):
    weight = builder.parameter(layer.kernel, convolution(layer.rank), layer.compute_dtype)
    bias = bias_of(builder, layer)
    stride, dilation = tuple(layer.strides), tuple(layer.dilation_rate)
    added = layer.output_padding or (None,) * layer.rank
    padding, extra, ends = zip(
        *(
            transposed_padding(*setting, layer.padding)
            for setting in zip(layer.kernel_size, stride, dilation, added, strict=True)
        ),
        strict=True,
    )
    if min(ends) < 0:  # set later on: Keras's constructor refuses it
        raise LoweringError("output_padding as long as a step")
    node = builder.call(
        CONVOLVE_TRANSPOSED[layer.rank],
        builder.image(inputs[0], layer.data_format),
        weight,
        bias,
        *(stride, padding, extra, 1, dilation),
        name=call.name,
    )
    if any(ends):
        node = builder.call(cut_ends, node, ends)
    value = inputs[0].with_node(node, torch_order=layer.data_format == "channels_last")
    return activate(builder, value, layer, call)


def transposed_padding(kernel, stride, dilation, added, padding):
    """How torch cuts one axis of a transposed convolution as Keras does.

    Args:
        kernel, stride, dilation: int.
        added: the layer's `output_padding` along the axis, or `None`.
        padding: `"valid"` or `"same"`.

    Returns:
        `(padding, output_padding, end)`: the first two for torch, and what then has to be cut
        off the end of the axis.
    """
    # Keras may cut different lengths off the two ends; torch cuts both alike (`padding`) and can
    # add at the end (`output_padding`). What is left over is cut afterwards.
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        first, last = 0, -(max(0, stride - reach) if added is None else added)
    else:
        kept = reach - 2 + (stride if added is None else reach % 2 + added)
        before = min(kept // 2 + kept % 2, reach - 1)
        first, last = reach - 1 - before, reach - 1 - (kept - before)
    extra = min(max(0, first - last), max(stride, dilation) - 1)
    return first, extra, last - (first - extra)


def cut_ends(images, ends):
    """Images `(batch, channels, *axes)`, cut at the end of each axis."""
    return images[(..., *(slice(None, -end or None) for end in ends))]
