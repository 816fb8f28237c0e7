"""Which way each convolution of a lowered graph goes."""

import contextlib

from keras_dawn.convolutions import conv2d, ways_of
from keras_dawn.convolutions.ways import TORCH
from keras_dawn.native.lowering.joined_convolutions import joined_by_ways
from keras_dawn.native.lowering.rules.series import conv1d_by_ways

import torch


def convolution_ways(module, shapes, dtypes):
    """Which way each convolution goes that may go another one than torch's own.

    The graph is run without numbers, on torch's meta device, as far as that is possible.

    Args:
        module: lowered module, in which no Python of the user's runs.
        shapes, dtypes: of its inputs.

    Returns:
        dict from the convolution's name in the graph to str.
    """
    if not any(node.target in _BY_WAYS for node in module.graph.nodes):
        return {}
    interpreter = _Interpreter(module)
    inputs = [
        torch.empty(shape, dtype=dtype, device="meta")
        for shape, dtype in zip(shapes, dtypes, strict=True)
    ]
    with torch.no_grad(), contextlib.suppress(Exception):  # what has no meta form ends it
        interpreter.run(*inputs)
    return interpreter.found


_BY_WAYS = (conv2d, conv1d_by_ways, joined_by_ways)


class _Interpreter(torch.fx.Interpreter):
    """Runs a graph on the meta device and notes the convolutions in it."""

    def __init__(self, module):
        super().__init__(module)
        self.found = {}

    def fetch_attr(self, target):
        return super().fetch_attr(target).to("meta")

    def run_node(self, node):
        if node.target in (conv2d, conv1d_by_ways):
            arguments, _ = self.fetch_args_kwargs_from_env(node)
            self.found[node.name] = _said(node.target, *arguments)
        elif node.target is joined_by_ways:
            (series, kernels, biases, *settings), _ = self.fetch_args_kwargs_from_env(node)
            kernel = torch.cat(kernels)
            self.found[node.name] = _said(conv1d_by_ways, series, kernel, biases[0], *settings)
        return super().run_node(node)


def _said(function, images, weight, bias, stride, padding, dilation, groups):
    """The shapes of a convolution and its ways, in words."""
    if function is conv1d_by_ways:
        images, weight = images.unsqueeze(2), weight.unsqueeze(2)
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    ways = ways_of(images, weight, stride, padding, dilation, groups)
    if set(ways.values()) == {TORCH}:
        return "torch's own"
    batch, channels, height, width = images.shape
    filters, _, rows, columns = weight.shape
    return (
        f"{batch} × {height}×{width}, {channels} → {filters}, {rows}×{columns}: "
        f"{ways['forward']}; gradient to the images: {ways['to_input']}, to the weights: "
        f"{ways['to_weight']}"
    )
