"""Views that a graph takes of a weight, taken once instead of in every step."""

import torch


class WeightViews:
    """A node of a graph that holds a weight, and the views that alone are taken of it.

    Args:
        node: `torch.fx.Node`.
        views: list of `torch.fx.Node`, each a view of the one before.
    """

    def __init__(self, node, views):
        self._nodes = [node, *views]

    def written(self):
        """The views as text, which says whether two are the same; empty without any."""
        return ".".join(f"{view.target}{view.args[1:]}" for view in self._nodes[1:])

    def of(self, tensor):
        """The last of these views of a tensor."""
        for view in self._nodes[1:]:
            tensor = getattr(tensor, view.target)(*view.args[1:])
        return tensor

    def replace_by(self, name):
        """Puts a parameter in the place of the node and its views."""
        *_, last = self._nodes
        graph = last.graph
        with graph.inserting_before(last):
            last.replace_all_uses_with(graph.get_attr(name))
        for node in reversed(self._nodes):
            graph.erase_node(node)


def views_after(node, weight):
    """The `WeightViews` of a node that holds a copy of a weight.

    Args:
        node: `torch.fx.Node`.
        weight: tensor.
    """
    views, found = [], torch.empty_like(weight)  # which lies in memory as a copy does
    while True:
        users = list((views[-1] if views else node).users)
        if len(users) != 1 or not _is_view(users[0]):
            break
        (user,) = users
        view = getattr(found, user.target)(*user.args[1:])
        if view.data_ptr() != found.data_ptr():
            break  # a copy
        views.append(user)
        found = view
    return WeightViews(node, views)


_METHODS = {"permute", "flatten", "unflatten", "unsqueeze", "squeeze", "transpose", "t"}


def _is_view(user):
    """Whether a node may be a view of its first argument, by numbers alone."""
    if user.op != "call_method" or user.target not in _METHODS or user.kwargs:
        return False
    return not any(isinstance(each, torch.fx.Node) for each in user.args[1:])
