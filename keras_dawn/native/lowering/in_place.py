"""Which operations of a lowered graph may overwrite their input."""

import operator

from keras_dawn.convolutions import conv2d
from keras_dawn.native.half_normalizations import group_norm_in_half
from keras_dawn.native.lowering.rules.batch_normalization import batch_norm_in_training
from keras_dawn.native.lowering.rules.series import conv1d, conv1d_by_ways, product
from keras_dawn.native.transposed_convolutions import conv_transpose2d, conv_transpose3d

import torch


def relu_in_place(graph):
    """Lets a ReLU overwrite its input where nobody else needs it.

    Convolutions, normalisation, sums and the highest of windows do not read their own output in the
    backward pass, so the output may be overwritten. What another view of it is taken for comes
    after the ReLU then: autograd copies what is written through a view.
    """
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target is not torch.relu:
            continue
        views = []
        source = node.args[0]
        while len(source.users) == 1 and source.op == "call_method" and source.target in _VIEWS:
            views.append(source)
            source = source.args[0]
        if len(source.users) > 1 or source.op != "call_function":
            continue
        if source.target in (conv1d, conv1d_by_ways, product):  # which end with a view
            source.kwargs = {**source.kwargs, "relu": True}
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
        elif source.target in _OVERWRITABLE or _is_batch_norm_output(source):
            node.target = torch.relu_
            if views:
                node.replace_all_uses_with(views[0])
                views[-1].prepend(node)
                views[-1].args = (node, *views[-1].args[1:])
                node.args = (source,)


_VIEWS = {"permute", "view_as"}
_OVERWRITABLE = {
    torch.conv2d, conv2d, torch.conv3d, conv_transpose2d, conv_transpose3d, torch.batch_norm,
    torch.group_norm, group_norm_in_half, torch.add, torch.max_pool2d, torch.max_pool3d,
}  # fmt: skip


def _is_batch_norm_output(node):
    return (
        node.target is operator.getitem
        and node.args[1] == 0
        and node.args[0].target is batch_norm_in_training
    )
