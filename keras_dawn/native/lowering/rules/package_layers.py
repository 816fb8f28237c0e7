"""The package's own layers."""

from keras_dawn.convolutions.winograd import winograd_conv2d
from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.layouts import convolution
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.activations import activate
from keras_dawn.native.lowering.rules.convolutions import bias_of
from keras_dawn.native.lowering.rules.pooling import mean_of
from keras_dawn.native.lowering.values import LoweringError

import torch


@rule("keras_dawn.models.layers.ConcatPooling2D")
def concat_pooling(builder, layer, inputs, call):
    if not is_float(inputs[0].dtype):
        raise LoweringError(f"of {inputs[0].dtype}")
    node = builder.image(inputs[0], layer.data_format)
    average = builder.call(mean_of(call), node, (2, 3))
    highest = builder.call(torch.amax, node, (2, 3))
    parts = [average, highest] if layer.order == "avg_max" else [highest, average]
    node = builder.call(torch.cat, parts, 1, name=call.name)
    return inputs[0].with_node(node, rank=2, torch_order=False)


def pad_for_pooling(images, kernel_size, pool_size):
    """Pads `(batch, channels, height, width)` for a "valid" convolution that is then pooled."""
    height, width = images.shape[2:]
    half = kernel_size // 2
    ends = half, half - width % pool_size, half, half - height % pool_size
    return torch.nn.functional.pad(images, ends)


@rule("keras_dawn.models.layers.PaddingForPooling2D")
def padding_for_pooling(builder, layer, inputs, call):
    node = builder.image(inputs[0], layer.data_format)
    sizes = layer.kernel_size, layer.pool_size
    node = builder.call(pad_for_pooling, node, *sizes, name=call.name)
    return inputs[0].with_node(node, torch_order=layer.data_format == "channels_last")


@rule("keras_dawn.models.layers.Scale")
def scale(builder, layer, inputs, call):
    value = builder.padded(inputs[0])
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    return value.with_node(builder.call(torch.mul, value.node, layer.factor, name=call.name))


@rule("keras_dawn.models.winograd.WinogradConv2D")
def winograd(builder, layer, inputs, call):
    node = builder.call(
        winograd_conv2d,
        builder.image(inputs[0], layer.data_format),
        builder.parameter(layer.kernel, convolution(2), layer.compute_dtype),
        bias_of(builder, layer),
        int(layer.padding == "same"),
        name=call.name,
    )
    return activate(builder, inputs[0].with_node(node, torch_order=True), layer, call)
