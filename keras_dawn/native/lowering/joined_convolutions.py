"""Convolutions of the same series that become one, as the gates of a WaveNet do."""

import operator

from keras_dawn.native.lowering.draws import has_effects
from keras_dawn.native.lowering.gradient_ends import gradient_ends
from keras_dawn.native.lowering.rules.series import conv1d, conv1d_by_ways
from keras_dawn.native.padding import pad_axes

import torch


def join_convolutions(graph, root):
    """Makes one convolution of those that read the same series by kernels of the same length.

    A filter's output does not depend on what filters stand beside it: the numbers are the same to
    rounding. The series is read once, and its gradients are not added up. Only those are joined
    that get a gradient in the same cases, since all weights of one convolution get one, and whose
    weights the graph leaves as they are, since all are read where the first is.

    Args:
        graph: `torch.fx.Graph` in which every node is read.
        root: module with the parameters that the graph names.
    """
    views, groups, changed = {}, {}, _changed(graph)
    for node in list(graph.nodes):
        if (node.op, node.target) in _VIEWS:  # of its own for each convolution
            first = views.setdefault((node.target, node.args, tuple(node.kwargs.items())), node)
            if first is not node:
                node.replace_all_uses_with(first)
                graph.erase_node(node)
        elif node.op == "call_function" and node.target in _JOINED and node.args[-1] == 1:
            series, kernel, bias, *settings = node.args
            weights = [_chain(weight) for weight in (kernel, bias) if weight is not None]
            if all(weights) and not any(nodes[0].target in changed for nodes in weights):
                key = node.target, series, bias is None, shape_of(kernel, root)[2], *settings
                groups.setdefault(key, []).append(node)
    groups = [group for group in groups.values() if len(group) > 1]
    ends = gradient_ends(graph) if groups else {}
    for group in groups:
        alike = {}
        for node in group:
            alike.setdefault(ends[node], []).append(node)
        for part in alike.values():
            if len(part) > 1:
                _join(graph, part)


def _changed(graph):
    """The names of the parameters that a graph writes to, as spectral normalisation does."""
    read = [given for node in graph.nodes if has_effects(node) for given in node.all_input_nodes]
    return {node.target for node in read if node.op == "get_attr"}


_VIEWS = {("call_method", "permute"), ("call_function", pad_axes)}
_OF_WEIGHTS = {"to", "permute"}  # what is done to a parameter before a layer computes with it


def joined(series, kernels, biases, *settings):
    """`conv1d` of a series by several kernels at once, as a list.

    Args:
        series: `(batch, channels, time)`.
        kernels: list of `(filters, channels, steps)`, of as many steps.
        biases: list of `(filters,)`, or of `None`.
        settings: the further arguments of `conv1d`.
    """
    return in_parts(conv1d, series, kernels, biases, *settings)


def joined_by_ways(series, kernels, biases, *settings):
    """`joined` by the ways of `keras_dawn.convolutions`."""
    return in_parts(conv1d_by_ways, series, kernels, biases, *settings)


def side_by_side(convolve, series, kernels, biases, *settings):
    """The outputs of all kernels as one tensor; `convolve` is `conv1d` or the like."""
    bias = None if biases[0] is None else torch.cat(biases)
    # The channels innermost, as they lie in each kernel.
    kernel = torch.cat([kernel.mT for kernel in kernels]).mT
    return convolve(series, kernel, bias, *settings)


def in_parts(convolve, series, kernels, biases, *settings):
    """The outputs of each kernel, as a list."""
    outputs = side_by_side(convolve, series, kernels, biases, *settings)
    # As they lie in memory: their gradients are put together likewise, which torch does in order.
    parts = outputs.mT.split([len(each) for each in kernels], 2)
    return [part.mT for part in parts]


def _chain(node):
    """The nodes from a parameter to a weight as a layer computes with it, or `None`."""
    nodes = [node]
    while nodes[0].op == "call_method" and nodes[0].target in _OF_WEIGHTS:
        nodes.insert(0, nodes[0].args[0])
    return nodes if nodes[0].op == "get_attr" else None


def shape_of(node, root):
    """The shape of a weight as a tuple, or `None` for what is none."""
    nodes = _chain(node)
    if nodes is None:
        return None
    shape = getattr(root, nodes[0].target).shape
    for each in nodes[1:]:
        if each.target == "permute":
            shape = [shape[axis] for axis in each.args[1:]]
    return tuple(shape)


def _join(graph, group):
    first = group[0]
    places = {node: place for place, node in enumerate(graph.nodes)}
    for node in group[1:]:
        for weight in node.args[1:3]:
            for each in _chain(weight) if weight is not None else ():
                if places[each] > places[first]:  # else it stands where others read it, too
                    first.prepend(each)
                    places[each] = places[first]
    series, _, _, *settings = first.args
    kernels, biases = ([node.args[place] for node in group] for place in (1, 2))
    with graph.inserting_before(first):
        name = "_and_".join(node.name for node in group)
        given = series, kernels, biases, *settings
        outputs = graph.create_node("call_function", _JOINED[first.target], given, name=name)
        for number, node in enumerate(group):
            part = graph.create_node("call_function", operator.getitem, (outputs, number))
            node.replace_all_uses_with(part)
    for node in group:
        graph.erase_node(node)


_JOINED = {conv1d: joined, conv1d_by_ways: joined_by_ways}
