"""Texts for recurrent layers are looked up in the order in which torch's kernels read them."""

from keras_dawn.native import recurrent
from keras_dawn.native.lowering.rules.embeddings import lookup, lookup_in


def look_up_time_first(graph):
    """Turns numbers `(batch, time)` before they are looked up, not the features afterwards.

    The kernels take all texts' first step first. Where only recurrent layers read the vectors, the
    numbers are turned and the vectors are a view: the same vectors in another order of memory.
    """
    turned = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _LOOKUPS or not node.users:
            continue
        if not all(_reads_sequence(user, node) for user in node.users):
            continue
        *table, numbers = node.args
        with graph.inserting_before(node):
            if numbers not in turned:
                turned[numbers] = graph.call_method("transpose", (numbers, 0, 1))
            node.args = (*table, turned[numbers])
        with graph.inserting_after(node):
            view = graph.call_method("transpose", (node, 0, 1))
        node.replace_all_uses_with(view, delete_user_cb=lambda user, view=view: user is not view)


_LOOKUPS = {lookup, lookup_in}
# A recurrent function and which of its arguments is the sequences.
_SEQUENCES = {recurrent.lstm: 0, recurrent.gru: 0, recurrent.simple_rnn: 0}
_SEQUENCES[recurrent.bidirectional] = 1


def _reads_sequence(user, node):
    """Whether a node reads another as its sequences."""
    place = _SEQUENCES.get(user.target) if user.op == "call_function" else None
    return place is not None and user.args[place] is node
