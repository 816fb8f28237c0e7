"""Convolutions of one series that are a gate, as in a WaveNet: tanh · sigmoid."""

import functools
import operator

from keras_dawn.convolutions import table_in_use
from keras_dawn.convolutions.convolve import needs_torch
from keras_dawn.convolutions.way import PLAIN
from keras_dawn.native.causal_gates import causal_gates
from keras_dawn.native.gates import gate
from keras_dawn.native.lowering.joined_convolutions import (
    in_parts,
    joined,
    joined_by_ways,
    shape_of,
    side_by_side,
)
from keras_dawn.native.lowering.rules.series import conv1d, conv1d_by_ways
from keras_dawn.native.padding import pad_axes

import torch

# Where products were the fastest, in float32 on processors of these tables' kinds.
MEASURED = ("amx", "avx512_amd")
MOST_BYTES = 2**21  # of the rows of `causal_gates`, which a core's own cache holds
MOST_STEPS, MOST_THREADS = 3, 2


def gate_convolutions(graph, root):
    """Makes one operation of two joined convolutions, tanh and sigmoid of them, and the product.

    Args:
        graph: `torch.fx.Graph` in which every node is read, after `join_convolutions`.
        root: module with the parameters that the graph names.
    """
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target is torch.mul:
            found = _gate(node, root)
            if found is not None:
                _replace(graph, node, *found)


def _gate(node, root):
    """`(joined convolution, number of the one of the tanh)` of a product, or `None`."""
    parts = {}
    if len(node.args) != 2 or node.kwargs:
        return None
    for factor in node.args:
        if isinstance(factor, torch.fx.Node) and factor.target in (torch.tanh, torch.sigmoid):
            parts[factor.target] = factor.args[0]
    if len(parts) < 2 or any(part.target is not operator.getitem for part in parts.values()):
        return None
    both = {part.args[0] for part in parts.values()}
    convolution = both.pop()
    if both or convolution.target not in _GATED or len(convolution.args[1]) != 2:
        return None
    between = [*node.args, *parts.values()]
    if len(set(between)) != 4 or any(len(each.users) != 1 for each in between):
        return None
    shapes = {shape_of(kernel, root) for kernel in convolution.args[1]}
    devices = {parameter.device.type for parameter in root.parameters()}
    # Filters of other numbers are no gate of Keras's, or one that is broadcast.
    if len(shapes) != 1 or devices != {"cpu"}:
        return None
    return convolution, parts[torch.tanh].args[1]


def _replace(graph, node, convolution, tanh):
    series, kernels, biases, *settings = convolution.args
    ends = ((0, 0),)
    if series.target is pad_axes:
        series, ends = series.args
    kernels, biases = ([each[tanh], each[1 - tanh]] for each in (kernels, biases))
    with graph.inserting_before(node):
        given = series, kernels, biases, ends, *settings
        target = _GATED[convolution.target]
        found = graph.create_node("call_function", target, given, name=f"{convolution.name}_gated")
        node.replace_all_uses_with(found)
    activations = list(node.args)
    parts = [activation.args[0] for activation in activations]
    for each in (node, *activations, *parts, convolution):
        graph.erase_node(each)


def gated(series, kernels, biases, ends, *settings):
    """`tanh(one) · sigmoid(another)` convolution of a series.

    Args:
        series: `(batch, channels, time)`.
        kernels: that of the tanh and that of the sigmoid, `(filters, channels, steps)` both.
        biases: two tensors `(filters,)`, or two times `None`.
        ends: `((before, after),)`, zeros that are put around the series first.
        settings: the further arguments of `conv1d`.

    Returns:
        Tensor `(batch, filters, time)`.
    """
    return _gated(conv1d, series, kernels, biases, ends, settings)


def gated_by_ways(series, kernels, biases, ends, *settings):
    """`gated` by the ways of `keras_dawn.convolutions`."""
    return _gated(conv1d_by_ways, series, kernels, biases, ends, settings)


def _gated(convolve, series, kernels, biases, ends, settings):
    plain = {type(series), *map(type, kernels)} <= PLAIN
    if not plain or series.device.type != "cpu" or kernels[0].device != series.device:
        return _composed(convolve, ends, settings, series, kernels, biases)
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or needs_torch(series.dtype):
        return _composed(convolve, ends, settings, series, kernels, biases)
    by_ways = convolve is conv1d_by_ways
    if by_ways and goes_by_products(series, kernels[0], ends, *settings):
        compose = functools.partial(_composed_of_steps, convolve, ends, settings)
        (dilation,) = settings[2]
        return causal_gates(series.mT, kernels, biases, dilation, compose).mT
    outputs = side_by_side(convolve, pad_axes(series, ends), kernels, biases, *settings)
    return gate(outputs.mT).mT


def goes_by_products(series, kernel, ends, stride, padding, dilation, groups):
    """Whether `gated_by_ways` computes products of matrices: see `causal_gates`.

    Args:
        series, kernel: tensors, of any device.
        ends, stride, padding, dilation, groups: as `gated` has them.
    """
    batch, channels, time = series.shape
    steps, threads = kernel.shape[2], torch.get_num_threads()
    zeros = dilation[0] * (steps - 1)
    if (*map(tuple, ends), *stride, *padding, groups) != ((zeros, 0), 1, 0, 1):
        return False
    if {series.dtype, kernel.dtype} != {torch.float32} or not series.numel():
        return False
    if steps > MOST_STEPS or 2 * zeros > time or threads > MOST_THREADS:
        return False
    row = steps * channels * series.element_size()
    return batch * time * row <= MOST_BYTES // threads and table_in_use().name in MEASURED


def _composed(convolve, ends, settings, series, kernels, biases):
    one, other = in_parts(convolve, pad_axes(series, ends), kernels, biases, *settings)
    return torch.tanh(one) * torch.sigmoid(other)


def _composed_of_steps(convolve, ends, settings, steps, kernels, biases):
    return _composed(convolve, ends, settings, steps.mT, kernels, biases).mT


_GATED = {joined: gated, joined_by_ways: gated_by_ways}
