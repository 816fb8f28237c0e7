"""Texts for recurrent layers are looked up in the order in which torch's kernels read them."""

from keras_dawn.native import recurrent
from keras_dawn.native.lowering.rules.embeddings import lookup, lookup_in_half


def look_up_time_first(graph):
    """Turns numbers `(batch, time)` before they are looked up, not the features afterwards.

    The kernels take all texts' first step first. Where only recurrent layers read the vectors, the
    numbers are turned and the vectors are a view: the same vectors in another order of memory.
    """
    turned = {}
    for node in list(graph.nodes):
        if node.op != "call_function" or node.target not in _LOOKUPS or not node.users:
            continue
        vectors = _cast_of(node)
        if not all(_reads_sequence(user, vectors) for user in vectors.users):
            continue
        table, numbers, *dtype = node.args
        with graph.inserting_before(node):
            if numbers not in turned:
                turned[numbers] = graph.call_method("transpose", (numbers, 0, 1))
            node.args = (table, turned[numbers], *dtype)
        with graph.inserting_after(vectors):
            view = graph.call_method("transpose", (vectors, 0, 1))
        vectors.replace_all_uses_with(view, delete_user_cb=lambda user, view=view: user is not view)


def _cast_of(node):
    """What a node is cast to, where nothing else reads it, or the node itself."""
    (user, *others) = node.users
    is_cast = user.op == "call_method" and user.target == "to"
    return user if is_cast and not others and user.users else node


_LOOKUPS = (lookup, lookup_in_half)

# A recurrent function and which of its arguments is the sequences.
_SEQUENCES = {recurrent.lstm: 0, recurrent.gru: 0, recurrent.simple_rnn: 0}
_SEQUENCES[recurrent.bidirectional] = 1


def _reads_sequence(user, node):
    """Whether a node reads another as its sequences."""
    place = _SEQUENCES.get(user.target) if user.op == "call_function" else None
    return place is not None and user.args[place] is node
