"""How Keras's weights are laid out for torch, in memory that both look at."""

from keras_dawn.foundation import keras_variables

import torch


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
            # A parameter of its own on the same memory: torch's order of axes, Keras's numbers.
            self.tensor = torch.nn.Parameter(
                transform.share(variable.value), requires_grad=variable.value.requires_grad
            )

    def add_gradient(self, gradient):
        """Adds a gradient that arrived in the variable's own tensor, if there is one."""
        if gradient is None:
            return
        own = self.transform.view(gradient)
        self.tensor.grad = own if self.tensor.grad is None else self.tensor.grad + own

    def is_shared(self):
        """Whether the variable still has the memory that the parameter looks at."""
        value = keras_variables.memory_of(self.variable)
        same = value.data_ptr() == self.tensor.data_ptr()
        return same and value.requires_grad == self.tensor.requires_grad


class Place:
    """Where the numbers of a variable lie, as a setting that a lowering has read."""

    def __init__(self, variable):
        self._variable = variable

    @property
    def now(self):
        return keras_variables.memory_of(self._variable).data_ptr()


class _Moves:
    """How often the memory of some weight was laid out anew: state beside it has to follow."""

    count = 0


moves = _Moves()


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
        dense = _empty(view, channels_last=view.ndim > 2 and not self.merge)
        # Strides of axes of size 1 must be the usual ones too: oneDNN looks at them.
        if view.stride() != dense.stride():
            inverse = [self.permutation.index(axis) for axis in range(data.ndim)]
            # The variable becomes the view, and the memory torch's: no copy in any step.
            parameter.data = dense.copy_(view).permute(inverse)
            if parameter.grad is not None:  # torch warns of one in another layout
                grad = parameter.grad.permute(self.permutation)
                parameter.grad = torch.empty_like(dense).copy_(grad).permute(inverse)
            moves.count += 1
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


class Projection(Transform):
    """A kernel of several axes as the matrix `(outputs, inputs)` of a linear map.

    Args:
        permutation: tuple of axes, those of the outputs first.
        outputs: int, how many these are; without axes of inputs the result is a vector.
    """

    def __init__(self, permutation, outputs):
        super().__init__(permutation, merge=True)
        self.outputs = outputs

    def __eq__(self, other):
        return super().__eq__(other) and self.outputs == getattr(other, "outputs", None)

    def view(self, tensor):
        view = tensor.permute(self.permutation).flatten(0, self.outputs - 1)
        return view.flatten(1) if self.outputs < len(self.permutation) else view

    def nodes(self, graph, node):
        node = graph.call_method("permute", (node, *self.permutation))
        node = graph.call_method("flatten", (node, 0, self.outputs - 1))
        if self.outputs == len(self.permutation):
            return node
        return graph.call_method("flatten", (node, 1))

    def undo(self, tensor, shape):
        tensor = tensor.reshape([shape[axis] for axis in self.permutation])
        return tensor.permute([self.permutation.index(axis) for axis in range(tensor.ndim)])


def _empty(view, channels_last):
    """Dense memory for a tensor, with the channels (axis 1) innermost or in the order of axes."""
    if not channels_last:
        return torch.empty_like(view, memory_format=torch.contiguous_format)
    last = (view.ndim - 1, *range(1, view.ndim - 1))  # where (0, 2, …, 1) has put each axis
    sizes = (view.shape[0], *view.shape[2:], view.shape[1])
    return torch.empty(sizes, dtype=view.dtype, device=view.device).permute(0, *last)


AS_IS = Transform()
DENSE = Transform((1, 0))


def convolution(axes):
    """The layout of a convolution's kernel over some number of axes, transposed ones included."""
    return Transform((axes + 1, axes, *range(axes)))


def depthwise(axes):
    """The layout of a depthwise kernel over some number of axes."""
    return Transform((axes, axes + 1, *range(axes)), merge=True)
