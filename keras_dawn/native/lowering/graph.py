"""The graph under construction: values with a layout, and parameters that Keras shares.

A Keras image tensor in `channels_last` order, permuted to (batch, channels, height, width),
is a torch tensor in `channels_last` memory format, and the permutation is a view. So the
lowered graph keeps images in torch's order throughout and goes back to Keras's only
where an operation depends on the order.
"""

import re

from keras_dawn.native.lowering.reads import Reads

import torch

HALF = ("float16", "bfloat16")


class Value:
    """A tensor in the lowered graph.

    Args:
        node: `torch.fx.Node`.
        rank: int.
        dtype: str, Keras's name of the dtype.
        torch_order: bool, whether a Keras `channels_last` image is held in torch's order.
        padding: `(height, width)`, zeros still to be added on both sides of the image by
            whoever reads it; a convolution adds them for nothing.

    Attributes:
        mask: node of Keras's mask of the tensor, or `None`; at run time it may still be `None`.
    """

    def __init__(self, node, rank, dtype, torch_order=False, padding=None):
        self.mask = None
        self.node = node
        self.rank = rank
        self.dtype = dtype
        self.torch_order = torch_order
        self.padding = padding


class GraphBuilder:
    """Adds nodes to a `torch.fx.Graph` and parameters to the module that it will run on.

    Args:
        training: bool, which mode the graph is for.
        collect_statistics: bool, whether normalisation returns its batch statistics
            instead of writing moving averages (the training step does that itself).
        model_name: str, left out of the parameters' names.
        views: set of ids of Keras variables whose own tensors are the module's parameters, so
            that gradients arrive in them; torch's layout is a view in the graph. `None`: all.
    """

    def __init__(self, training, collect_statistics=False, model_name="", views=frozenset()):
        self.training = training
        self.views = views
        self.reads = Reads()
        self.model_name = model_name
        self.collect_statistics = collect_statistics
        self.graph = torch.fx.Graph()
        self.root = torch.nn.Module()
        self.leaves = {}  # id of a Keras variable → (attribute, Leaf)
        self.statistics = []  # (BatchNormalization layer, mean node, inverse deviation node)
        self.native = []  # layers said in torch
        self.fallbacks = []  # (layer, reason): called as they are
        self.mode_restated = False  # by a layer with a `training` argument, since the last call
        self._cast = {}

    def call(self, function, *args, name=None, **kwargs):
        """A call of a torch function; returns its node."""
        node = self.graph.create_node("call_function", function, args, kwargs, name=_safe(name))
        return node

    def parameter(self, variable, transform, dtype=None):
        """The node of a Keras variable as torch wants it.

        Args:
            variable: `keras.Variable`.
            transform: `Transform`, how torch lays it out.
            dtype: compute dtype; a half one gets a working copy made in the graph.
        """
        as_view = self.views is None or id(variable) in self.views
        held = AS_IS if as_view else transform
        if id(variable) not in self.leaves:
            name = _safe(variable.path.removeprefix(f"{self.model_name}/"))
            while hasattr(self.root, name):
                name += "_"
            if as_view:
                transform.share(variable.value)  # the view is dense
            leaf = Leaf(variable, held)
            self.reads.note(variable, "trainable", variable.trainable)
            self.root.register_parameter(name, leaf.tensor)
            self.leaves[id(variable)] = (name, leaf)
        name, leaf = self.leaves[id(variable)]
        if leaf.transform != held:
            raise TwoLayoutsError(variable)
        key = (name, dtype if dtype in HALF else None, transform.permutation, transform.merge)
        if key not in self._cast:
            node = self.graph.get_attr(name)
            if dtype in HALF and variable.dtype != dtype:
                node = self.graph.call_method("to", (node, getattr(torch, dtype)))
            self._cast[key] = transform.nodes(self.graph, node) if as_view else node
        return self._cast[key]

    def cast(self, value, dtype):
        """The value in another floating-point dtype (integers stay what they are)."""
        if value.dtype == dtype or "float" not in value.dtype or "float" not in dtype:
            return value
        node = self.graph.call_method("to", (value.node, getattr(torch, dtype)))
        return Value(node, value.rank, dtype, value.torch_order, value.padding)

    def padded(self, value):
        """The value with its pending padding added."""
        if value.padding is None:
            return value
        height, width = value.padding
        node = self.call(torch._C._nn.pad, value.node, (width, width, height, height))
        return Value(node, value.rank, value.dtype, value.torch_order)

    def keras_order(self, value):
        """The node in Keras's order of axes."""
        value = self.padded(value)
        if value.torch_order:
            return self.graph.call_method("permute", (value.node, 0, 2, 3, 1))
        return value.node

    def image(self, value, data_format, keep_padding=False):
        """The node of a batch of images in torch's order."""
        if not keep_padding:
            value = self.padded(value)
        if data_format == "channels_last" and not value.torch_order:
            return self.graph.call_method("permute", (value.node, 0, 3, 1, 2))
        return value.node


class Leaf:
    """A torch parameter that shares its memory with a Keras variable.

    The variable's memory is laid out anew, once, so that torch's view of it is dense in
    the memory format that torch is fast with. The variable keeps its shape and values.
    """

    def __init__(self, variable, transform):
        self.variable = variable
        self.transform = transform
        if transform == AS_IS:
            self.tensor = variable.value  # already a torch parameter
        else:
            self.tensor = torch.nn.Parameter(
                transform.share(variable.value), requires_grad=variable.value.requires_grad
            )

    def is_shared(self):
        """Whether the variable still has the memory that the parameter looks at."""
        return self.variable.value.data_ptr() == self.tensor.data_ptr()


class Transform:
    """How a Keras tensor is laid out for torch: a permutation of axes, then a shape.

    Args:
        permutation: tuple of axes, or `None` to keep them.
        merge: bool, whether the first two axes after the permutation become one and a
            second axis of 1 follows it, as in a depthwise kernel.
    """

    def __init__(self, permutation=None, merge=False):
        self.permutation = permutation
        self.merge = merge

    def __eq__(self, other):
        return (self.permutation, self.merge) == (other.permutation, other.merge)

    def share(self, parameter):
        """Lays out a Keras tensor's memory for torch and returns torch's view of it."""
        data = parameter.data
        if self.permutation is None:
            return data
        view = data.permute(self.permutation)
        image_kernel = view.ndim == 4 and not self.merge
        layout = torch.channels_last if image_kernel else torch.contiguous_format
        dense = torch.empty_like(view, memory_format=layout)
        # Strides of axes of size 1 must be the usual ones too: oneDNN looks at them.
        if view.stride() != dense.stride():
            inverse = [self.permutation.index(axis) for axis in range(data.ndim)]
            parameter.data = dense.copy_(view).permute(inverse)
        return self.view(parameter.data)

    def view(self, tensor):
        """torch's view of a Keras tensor laid out by `share`, or of its gradient."""
        if self.permutation is None:
            return tensor
        view = tensor.permute(self.permutation)
        return view.flatten(0, 1).unsqueeze(1) if self.merge else view

    def nodes(self, graph, node):
        """Adds the nodes of `view` to a graph."""
        if self.permutation is None:
            return node
        node = graph.call_method("permute", (node, *self.permutation))
        if self.merge:
            node = graph.call_method("flatten", (node, 0, 1))
            node = graph.call_method("unsqueeze", (node, 1))
        return node

    def undo(self, tensor, shape):
        """A tensor in torch's layout, such as a gradient, in the Keras variable's shape."""
        if self.permutation is None:
            return tensor
        if self.merge:
            first, second = shape[self.permutation[0]], shape[self.permutation[1]]
            tensor = tensor.squeeze(1).unflatten(0, (first, second))
        return tensor.permute([self.permutation.index(axis) for axis in range(tensor.ndim)])


AS_IS = Transform()
CONVOLUTION = Transform((3, 2, 0, 1))
DEPTHWISE = Transform((2, 3, 0, 1), merge=True)
DENSE = Transform((1, 0))


class LoweringError(ValueError):
    """A layer or its use has no torch equivalent here; the message says which and why."""


class TwoLayoutsError(Exception):
    """A variable is wanted in two layouts: it has to be a view in both."""

    def __init__(self, variable):
        super().__init__(f"{variable.path} is used in two layouts")
        self.variable = variable


def _safe(name):
    """A Python identifier for a layer's or variable's name."""
    if name is None:
        return None
    name = re.sub(r"\W", "_", name)
    return f"_{name}" if name[0].isdigit() else name
