"""Convolutions of the same series that become one, as the gates of a WaveNet do."""

import operator

from keras_dawn.native.lowering.rules.series import conv1d
from keras_dawn.native.padding import pad_axes

import torch


def join_convolutions(graph, root):
    """Makes one convolution of those that read the same series by kernels of the same length.

    A filter's output does not depend on what filters stand beside it: the numbers are the same to
    rounding. The series is read once, and its gradients are not added up.

    Args:
        graph: `torch.fx.Graph`.
        root: module with the parameters that the graph names.
    """
    views, groups = {}, {}
    for node in list(graph.nodes):
        if node.target in ("permute", pad_axes):  # of its own for each convolution
            first = views.setdefault((node.target, node.args), node)
            if first is not node:
                node.replace_all_uses_with(first)
                graph.erase_node(node)
        elif node.op == "call_function" and node.target is conv1d and node.args[-1] == 1:
            series, kernel, bias, *settings = node.args
            parameters = [_parameter(weight, root) for weight in (kernel, bias) if weight]
            if all(parameter is not None for parameter in parameters):
                key = series, bias is None, parameters[0].shape[2], *settings
                groups.setdefault(key, []).append(node)
    for group in groups.values():
        if len(group) > 1:
            _join(graph, group)


def joined(series, kernels, biases, *settings):
    """`conv1d` of a series by several kernels at once, as a list.

    Args:
        series: `(batch, channels, time)`.
        kernels: list of `(filters, channels, steps)`, of as many steps.
        biases: list of `(filters,)`, or of `None`.
        settings: the further arguments of `conv1d`.
    """
    bias = None if biases[0] is None else torch.cat(biases)
    outputs = conv1d(series, torch.cat(kernels), bias, *settings)
    return outputs.split([len(kernel) for kernel in kernels], 1)


def _of_parameter(node):
    """The node that names a parameter, behind a change of its dtype."""
    return node.args[0] if node.op == "call_method" and node.target == "to" else node


def _parameter(node, root):
    """The parameter that a node gives, in whatever dtype, or `None`."""
    node = _of_parameter(node)
    return getattr(root, node.target) if node.op == "get_attr" else None


def _join(graph, group):
    first, *others = group
    for weight in (weight for node in others for weight in node.args[1:3] if weight):
        for node in dict.fromkeys((_of_parameter(weight), weight)):
            first.prepend(node)
    series, _, _, *settings = first.args
    kernels, biases = ([node.args[place] for node in group] for place in (1, 2))
    with graph.inserting_before(first):
        outputs = graph.call_function(joined, (series, kernels, biases, *settings))
        for number, node in enumerate(group):
            part = graph.create_node("call_function", operator.getitem, (outputs, number))
            node.replace_all_uses_with(part)
    for node in group:
        graph.erase_node(node)
