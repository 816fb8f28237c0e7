"""What a lowered graph hands to Python of the user's that may change it in place."""

from keras_dawn.foundation import keras_layers
from keras_dawn.native.lowering.changing_python import may_change_in_place
from keras_dawn.native.lowering.keras_callables import KerasCall

import keras
import torch

_VIEWS = {"permute", "unflatten", "view_as"}


def copy_what_may_change(graph):
    """Copies, before such Python gets them, tensors that nobody else reads.

    Torch's kernels may have saved them for the gradients (that of an LSTM does), where what Keras
    computes of smaller steps is not needed again.
    """
    for node in list(graph.nodes):
        if type(node.target) is KerasCall and _may_change(node.target.operation):
            for source in node.all_input_nodes:
                if _is_of_this_alone(source):
                    with graph.inserting_before(node):
                        copy = graph.call_function(torch.clone, (source,))
                    node.replace_input_with(source, copy)


def _may_change(operation):
    if not isinstance(operation, keras.Layer):
        return False
    return any(
        may_change_in_place(layer)
        for layer in keras_layers.all_layers(operation)
        if isinstance(layer, keras.Layer)
    )


def _is_of_this_alone(node):
    while len(node.users) == 1 and node.op == "call_method" and node.target in _VIEWS:
        node = node.args[0]
    return len(node.users) == 1 and node.op == "call_function"
