"""Weights in half precision as leaves of their own: cast all at once, outside autograd."""

from collections import Counter

from keras_dawn.foundation import keras_variables

import torch

HALF = torch.float16, torch.bfloat16


class HalfWeights:
    """Copies in half precision of the weights that a training graph casts.

    A cast inside the graph is an operation with a backward pass for each weight. Here all are cast
    by one call before a step, and their gradients made wide by one call after it: the same bits.
    Casts of a weight that is used more than once stay, as do those of one with somebody's hooks.

    Args:
        module: `LoweredModule` to train, whose casts of weights become parameters.
    """

    def __init__(self, module):
        self._weights, self._halves = [], []
        graph = module.graph
        read = Counter(node.target for node in graph.nodes if node.op == "get_attr")
        for node in list(graph.nodes):
            weight = _cast_weight(node, module)
            if weight is None or read[node.args[0].target] > 1:
                continue
            (cast_from, dtype) = node.args
            name = f"{cast_from.target}_{str(dtype).removeprefix('torch.')}"
            half = torch.nn.Parameter(weight.detach().to(dtype))
            module.register_parameter(name, half)
            self._weights.append(weight)
            self._halves.append(half)
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.get_attr(name))
            graph.erase_node(node)
        if self._halves:
            graph.eliminate_dead_code(_is_kept)
            graph.lint()
            module.recompile()
        self._gradients = [None] * len(self._weights)

    @torch.no_grad()
    def refresh(self):
        """Takes the weights as they are now, and forgets what a broken-off step has left."""
        if self._halves:
            torch._foreach_copy_(self._halves, self._weights)
            for half in self._halves:
                half.grad = None

    def hand_back(self):
        """Adds the copies' gradients to those of the weights; to be called without gradients."""
        found, places = [], []
        for place, half in enumerate(self._halves):
            if half.grad is not None:
                if self._gradients[place] is None:
                    self._gradients[place] = torch.empty_like(self._weights[place])
                found.append(half.grad)
                places.append(place)
                half.grad = None
        if not found:
            return
        wide = [self._gradients[place] for place in places]
        torch._foreach_copy_(wide, found)
        for place, gradient in zip(places, wide, strict=True):
            weight = self._weights[place]
            if weight.grad is None:
                weight.grad = gradient
            else:
                weight.grad.add_(gradient)


def _cast_weight(node, module):
    """The trained parameter that a node casts to half precision, or `None`."""
    if node.op != "call_method" or node.target != "to" or node.args[1:] not in _TO_HALF:
        return None
    source = node.args[0]
    weight = getattr(module, source.target, None) if source.op == "get_attr" else None
    trained = isinstance(weight, torch.nn.Parameter) and weight.requires_grad
    if not trained or weight.dtype != torch.float32:
        return None
    # Hooks on a weight are called with the gradient that autograd brings to it.
    return None if keras_variables.is_hooked(weight) else weight


_TO_HALF = [(dtype,) for dtype in HALF]


def _is_kept(node):
    """Whether a node may do more than compute: only reads of parameters may go."""
    return node.op != "get_attr"
