"""Which way each convolution of a lowered graph goes."""

import contextlib

from keras_dawn.convolutions import conv2d, ways_of
from keras_dawn.convolutions.ways import TORCH
from keras_dawn.native.lowering.gated_convolutions import gated_by_ways, goes_by_products
from keras_dawn.native.lowering.joined_convolutions import joined_by_ways
from keras_dawn.native.lowering.keras_callables import KerasCall
from keras_dawn.native.lowering.masks import MaskCall
from keras_dawn.native.lowering.rules.series import conv1d_by_ways
from keras_dawn.native.padding import pad_axes, pad_same

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
        super().__init__(module, garbage_collect_values=False)
        self.found = {}

    def fetch_attr(self, target):
        return super().fetch_attr(target).to("meta")

    def run_node(self, node):
        if isinstance(node.target, KerasCall | MaskCall):
            raise _PythonComesError
        if node.target in _BY_WAYS:
            arguments, _ = self.fetch_args_kwargs_from_env(node)
            images = node.args[0]
            # What a convolution pads itself with is none of the sizes that it is given.
            given = self.env[images.args[0] if images.target in (pad_axes, pad_same) else images]
            self.found[node.name] = _said_of(node.target, arguments, given)
        return super().run_node(node)


def _said_of(function, arguments, given):
    """The sizes of a call and its ways, in words; `given` is what it gets before it is padded."""
    if function in (conv2d, conv1d_by_ways):
        return _said(given, *arguments)
    series, kernels, biases, *settings = arguments
    kernel = torch.cat(kernels)
    if function is joined_by_ways:
        return _said(given, series, kernel, biases[0], *settings)
    ends, *settings = settings  # the two convolutions of a gate may be products of matrices
    if goes_by_products(series, kernels[0], ends, *settings):
        return _in_words(given, kernel, *settings, ("windows", "products", "products"))
    return _said(given, pad_axes(series, ends), kernel, biases[0], *settings)


def _said(given, images, weight, bias, stride, padding, dilation, groups):
    settings = stride, padding, dilation, groups
    if images.ndim == 3:
        ways = ways_of(
            images.unsqueeze(2), weight.unsqueeze(2), (1, *stride), (0, *padding), (1, *dilation),
            groups,
        )  # fmt: skip
    else:
        ways = ways_of(images, weight, *settings)
    if set(ways.values()) == {TORCH}:
        return "torch's own"
    return _in_words(given, weight, *settings, ways.values())


def _in_words(images, weight, stride, _, dilation, groups, ways):
    batch, channels, *sizes = images.shape
    filters, _, *kernel = weight.shape
    several = [
        f", {name} {_by(each)}"
        for name, each in (("stride", stride), ("dilation", dilation))
        if set(each) != {1}
    ]
    several += [f", {groups} groups"] if groups > 1 else []
    forward, to_input, to_weight = ways
    return (
        f"{batch} × {_by(sizes)}, {channels} → {filters}, {_by(kernel)}{''.join(several)}: "
        f"{forward}; gradient to the images: {to_input}, to the weights: {to_weight}"
    )


def _by(sizes):
    return "×".join(map(str, sizes))
