"""Where the gradient to a node of a lowered graph comes from."""

from keras_dawn.native.elementwise import ELEMENTWISE

import torch


def gradient_ends(graph):
    """What a gradient to each node comes by: a set of `(node, reader)`, or it does not come.

    Nodes of one set get a gradient in the same cases, whatever the readers do with theirs: some
    detach it, and a loss may be of one output of several. A weight without a gradient is left
    alone, by weight decay and constraints too, which zeros in its place would not do.

    Args:
        graph: `torch.fx.Graph`.

    Returns:
        dict from node to frozenset.
    """
    ends = {}
    for node in reversed(graph.nodes):
        parts = [ends[user] if _hands_on(user) else {(node, user)} for user in node.users]
        ends[node] = frozenset().union(*parts)
    return ends


def _hands_on(node):
    """Whether every tensor that a node is computed of gets a gradient where the node gets one."""
    return (node.op, node.target) == ("call_method", "permute") or node.target in _HANDING_ON


_HANDING_ON = {
    *ELEMENTWISE.values(), torch.add, torch.sub, torch.mul, torch.div, torch.maximum,
    torch.minimum, torch.cat,
}  # fmt: skip
