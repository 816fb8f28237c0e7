"""Which operations of a lowered graph may overwrite their input."""

import operator

from keras_dawn.convolutions import conv2d
from keras_dawn.native.lowering.rules.batch_normalization import batch_norm_in_training

import torch


def relu_in_place(graph):
    """Lets a ReLU overwrite its input where nobody else needs it.

    Convolutions, normalisation, sums and the highest of windows do not read their own output in the
    backward pass, so the output may be overwritten.
    """
    for node in graph.nodes:
        if node.op != "call_function" or node.target is not torch.relu:
            continue
        source = node.args[0]
        overwritable = source.op == "call_function" and (
            source.target in _OVERWRITABLE or _is_batch_norm_output(source)
        )
        if overwritable and len(source.users) == 1:
            node.target = torch.relu_


_OVERWRITABLE = {
    torch.conv2d, conv2d, torch.conv3d, torch.conv_transpose2d, torch.batch_norm, torch.group_norm,
    torch.add, torch.max_pool2d, torch.max_pool3d,
}  # fmt: skip


def _is_batch_norm_output(node):
    return (
        node.target is operator.getitem
        and node.args[1] == 0
        and node.args[0].target is batch_norm_in_training
    )
