"""Which way each convolution of a lowered graph goes."""

import contextlib

from keras_dawn.convolutions import conv2d, ways_of
from keras_dawn.convolutions.ways import TORCH
from keras_dawn.native.lowering.gated_convolutions import gated_by_ways, goes_by_products
from keras_dawn.native.lowering.joined_convolutions import joined_by_ways
from keras_dawn.native.lowering.keras_callables import KerasCall
from keras_dawn.native.lowering.masks import MaskCall
from keras_dawn.native.lowering.rules.series import conv1d_by_ways
from keras_dawn.native.padding import pad_axes

import torch


def goes_by_ways(module):
    """Whether a lowered module has convolutions that may go another way than torch's own."""
    return any(node.target in _BY_WAYS for node in module.graph.nodes)


def convolution_ways(module, shapes, dtypes):
    """Which way each convolution goes that may go another one than torch's own.

    The graph is run without numbers, on torch's meta device, up to the first Python of Keras's or
    the user's.

    Args:
        module: lowered module.
        shapes, dtypes: of its inputs; shapes `None` where it must not run at all.

    Returns:
        dict from the convolution's name in the graph to str.
    """
    names = [node.name for node in module.graph.nodes if node.target in _BY_WAYS]
    if not names:
        return {}
    interpreter = _Interpreter(module)
    if shapes is not None:
        inputs = [
            torch.empty(shape, dtype=dtype, device="meta")
            for shape, dtype in zip(shapes, dtypes, strict=True)
        ]
        with torch.no_grad(), contextlib.suppress(Exception):  # what has no meta form ends it
            interpreter.run(*inputs)
    return {name: interpreter.found.get(name, _UNKNOWN) for name in names}


_UNKNOWN = "its way is known only while it runs: Python comes before it, or something is drawn"
_BY_WAYS = (conv2d, conv1d_by_ways, joined_by_ways, gated_by_ways)


class _PythonComesError(Exception):
    """What comes next is not torch's."""


class _Interpreter(torch.fx.Interpreter):
    """Runs a graph on the meta device and notes the convolutions in it."""

    def __init__(self, module):
        super().__init__(module)
        self.found = {}

    def fetch_attr(self, target):
        return super().fetch_attr(target).to("meta")

    def run_node(self, node):
        if isinstance(node.target, KerasCall | MaskCall):
            raise _PythonComesError
        if node.target in (conv2d, conv1d_by_ways):
            arguments, _ = self.fetch_args_kwargs_from_env(node)
            self.found[node.name] = _said(node.target, *arguments)
        elif node.target is joined_by_ways:
            (series, kernels, biases, *settings), _ = self.fetch_args_kwargs_from_env(node)
            kernel = torch.cat(kernels)
            self.found[node.name] = _said(conv1d_by_ways, series, kernel, biases[0], *settings)
        elif node.target is gated_by_ways:
            (series, kernels, biases, ends, *settings), _ = self.fetch_args_kwargs_from_env(node)
            self.found[node.name] = _said_of_gates(series, kernels, biases, ends, settings)
        return super().run_node(node)


def _said_of_gates(series, kernels, biases, ends, settings):
    """`_said` of the two convolutions of a gate, which may be products of matrices."""
    kernel = torch.cat(kernels)
    if not goes_by_products(series, kernels[0], ends, *settings):
        return _said(conv1d_by_ways, pad_axes(series, ends), kernel, biases[0], *settings)
    sizes = series.unsqueeze(2).shape, kernel.unsqueeze(2).shape
    return _in_words(*sizes, ("windows", "products", "products"))


def _said(function, images, weight, bias, stride, padding, dilation, groups):
    """The shapes of a convolution and its ways, in words."""
    if function is conv1d_by_ways:
        images, weight = images.unsqueeze(2), weight.unsqueeze(2)
        stride, padding, dilation = (1, *stride), (0, *padding), (1, *dilation)
    ways = ways_of(images, weight, stride, padding, dilation, groups)
    if set(ways.values()) == {TORCH}:
        return "torch's own"
    return _in_words(images.shape, weight.shape, ways.values())


def _in_words(images, weight, ways):
    batch, channels, height, width = images
    filters, _, rows, columns = weight
    forward, to_input, to_weight = ways
    return (
        f"{batch} × {height}×{width}, {channels} → {filters}, {rows}×{columns}: "
        f"{forward}; gradient to the images: {to_input}, to the weights: {to_weight}"
    )
