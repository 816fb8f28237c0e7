"""Weights in half precision as leaves of their own: cast all at once, outside autograd."""

from collections import Counter

from keras_dawn.foundation import keras_variables
from keras_dawn.foundation.precision import HALF
from keras_dawn.native.steps.weight_views import views_after

import torch


class HalfWeights:
    """Copies in half precision of the weights that a graph casts.

    A cast inside the graph is an operation for each weight, in training with a backward pass. Here
    all are cast by one call before a step, and their gradients made wide by one call after it: the
    same bits. In training, casts of a weight that is used more than once stay, as do those of one
    with somebody's hooks.

    Args:
        module: `LoweredModule`, whose casts of weights become parameters.
        training: bool; without, weights that are not trained are among them, too.
        copies: dict that holds the copies which modules of the same weights and the same mode have
            in common, of which one runs at a time.
    """

    def __init__(self, module, training=True, copies=None):
        self._used, self._weights, self._halves, names = [], [], [], {}
        self._copies = {} if copies is None else copies
        graph = module.graph
        read = Counter(node.target for node in graph.nodes if node.op == "get_attr")
        for node in list(graph.nodes):
            weight = _cast_weight(node, module)
            if weight is None or (training and not _is_cast_once(weight, read, node)):
                continue
            (cast_from, dtype), views = node.args, views_after(node, weight)
            name = f"{cast_from.target}_{str(dtype).removeprefix('torch.')}"
            key = name, views.written()
            if key not in names:
                names[key] = f"{name}_view_{len(names)}" if views.written() else name
                copy = self._copy(weight, dtype, training, views)
                module.register_parameter(names[key], copy.half)
                self._used.append(copy)
                self._weights.append(weight)
                self._halves.append(copy.memory)
            views.replace_by(names[key])
        if self._halves:
            graph.eliminate_dead_code(_is_kept)
            graph.lint()
            module.recompile()

    def _copy(self, weight, dtype, training, views):
        key = id(weight), dtype, views.written()
        if key not in self._copies:
            self._copies[key] = _Copy(weight, dtype, training, views)
        return self._copies[key]

    @torch.no_grad()
    def refresh(self):
        """Takes the weights as they are now, and forgets what a broken-off step has left."""
        if self._halves:
            torch._foreach_copy_(self._halves, self._weights)
            for copy in self._used:
                copy.half.grad = None

    def hand_back(self):
        """Adds the copies' gradients to those of the weights; to be called without gradients."""
        used = [copy for copy in self._used if copy.half.grad is not None]
        if not used:
            return
        torch._foreach_copy_([copy.as_half() for copy in used], [copy.half.grad for copy in used])
        for copy in used:
            copy.half.grad = None
            if copy.weight.grad is None:
                copy.weight.grad = copy.wide()
            else:
                copy.weight.grad.add_(copy.wide())


class _Copy:
    """A weight in half precision, and the memory in which its gradient is made wide.

    Attributes:
        memory: the copy in the weight's shape.
        half: the parameter on that memory, as the graph looks at it.
    """

    def __init__(self, weight, dtype, training, views):
        self.weight, self._views, self._wide = weight, views, None
        with torch.inference_mode(False):  # kept for steps outside of it, whoever asks first
            self.memory = weight.detach().to(dtype)
            self.half = torch.nn.Parameter(views.of(self.memory), requires_grad=training)

    def wide(self):
        """A tensor like the weight, the same one in every step."""
        if self._wide is None:
            self._wide = torch.empty_like(self.weight)
            self._as_half = self._views.of(self._wide)
        return self._wide

    def as_half(self):
        """The same memory as `wide`, in the shape in which the graph looks at the weight."""
        self.wide()
        return self._as_half


def _cast_weight(node, module):
    """The parameter that a node casts to half precision, or `None`."""
    if node.op != "call_method" or node.target != "to" or node.args[1:] not in _TO_HALF:
        return None
    source = node.args[0]
    weight = getattr(module, source.target, None) if source.op == "get_attr" else None
    single = isinstance(weight, torch.nn.Parameter) and weight.dtype == torch.float32
    return weight if single else None


def _is_cast_once(weight, read, node):
    """Whether a trained weight's only gradient is that of this cast, with nobody else's hooks."""
    if not weight.requires_grad or read[node.args[0].target] > 1:
        return False
    # Hooks on a weight are called with the gradient that autograd brings to it.
    return not keras_variables.is_hooked(weight)


_TO_HALF = [(dtype,) for dtype in HALF]


def _is_kept(node):
    """Whether a node may do more than compute: only reads of parameters may go."""
    return node.op != "get_attr"
