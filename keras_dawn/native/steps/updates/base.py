"""What the updates share."""

from keras_dawn.foundation import keras_internals
from keras_dawn.native.lowering.layouts import AS_IS

import keras
import torch


class Update:
    """Parameters, clipping, hyper-parameters and the step counter.

    Args:
        optimizer: built Keras optimizer, without `LossScaleOptimizer` around it.
        leaves: list of `Leaf`, the parameters that get a gradient.
    """

    reason = None  # why it is not fused
    handles_found_inf = True
    takes_none = False  # as a gradient
    rescales = False  # the gradients, in place

    def __init__(self, optimizer, leaves):
        self.optimizer = optimizer
        self.leaves = leaves
        self.parameters = [leaf.tensor for leaf in leaves]
        self.dtype = self.parameters[0].dtype if leaves else torch.float32
        self.device = self.parameters[0].device if leaves else torch.device("cpu")

    def is_laid_out(self):
        """Whether the state still lies in memory as the parameters do."""
        return True

    def changes_gradients(self):
        """Whether a step writes into the gradients that it is given."""
        names = ("clipnorm", "global_clipnorm", "clipvalue")
        return self.rescales or any(getattr(self.optimizer, name) for name in names)

    def scale(self, loss):
        """The loss as it is to be differentiated."""
        return loss

    def number(self, name):
        """A hyper-parameter as a Python number, whatever kind of scalar was assigned."""
        value = getattr(self.optimizer, name)
        if value is None or isinstance(value, (float, int)):
            return value
        return float(value.value if isinstance(value, keras.Variable) else value)

    def clipped(self, gradients):
        """The gradients, clipped in place as the optimizer says, by Keras's formulas."""
        each, together, value = map(self.number, ("clipnorm", "global_clipnorm", "clipvalue"))
        if each and each > 0:
            norms = torch._foreach_norm(gradients)
            torch._foreach_clamp_min_(norms, each)
            torch._foreach_mul_(gradients, each)
            torch._foreach_div_(gradients, norms)
        elif together and together > 0:
            norm = torch.stack(torch._foreach_norm(gradients)).norm()
            scale = together * norm.reciprocal().clamp_max(1.0 / together)
            torch._foreach_mul_(gradients, scale + (norm - norm))  # NaN if the norm is none
        elif value and value > 0:
            torch._foreach_clamp_min_(gradients, -value)
            torch._foreach_clamp_max_(gradients, value)
        return gradients

    def count(self, found_inf):
        """Advances the optimizer's own counter, unless the step was skipped."""
        counter = keras_internals.iterations(self.optimizer).value
        if found_inf is None:
            counter.add_(1)
        else:
            counter.add_((1 - found_inf).to(counter.dtype).view(()))

    def step_by_its_own_code(self, gradients):
        """The optimizer's own update, past what `apply` does before and after it."""
        variables = [leaf.variable for leaf in self.leaves]
        gradients = self.in_keras_shapes(gradients)
        keras_internals.update_variables(self.optimizer, gradients, variables)

    def in_keras_shapes(self, gradients):
        """The parameters' gradients in the shapes of their Keras variables."""
        return [
            None if gradient is None else leaf.transform.undo(gradient, tuple(leaf.variable.shape))
            for leaf, gradient in zip(self.leaves, gradients, strict=True)
        ]


class Fused(Update):
    """An update in fused kernels: state laid out like the weights, rate and decay on the device."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        order = {id(v): n for n, v in enumerate(keras_internals.trainable_variables(optimizer))}
        self._places = [order[id(leaf.variable)] for leaf in leaves]
        self._states = []  # lists of views, parallel to the parameters
        self._decayed = [
            leaf.tensor
            for leaf in leaves
            if keras_internals.uses_weight_decay(optimizer, leaf.variable)
        ]

    def state(self, name):
        """torch's views of an optimizer's state, laid out like the parameters."""
        variables = keras_internals.state_variables(self.optimizer, name)
        views = [
            _laid_out(leaf, variables[place])
            for leaf, place in zip(self.leaves, self._places, strict=True)
        ]
        self._states.append(views)
        return views

    def is_laid_out(self):
        """Whether the state still lies in memory as the parameters do."""
        return all(
            view.stride() == parameter.stride()
            for views in self._states
            for view, parameter in zip(views, self.parameters, strict=True)
        )

    def rate(self):
        """The learning rate, a 0-d tensor: a variable's, a schedule's or a function's."""
        rate = self.optimizer.learning_rate
        if isinstance(rate, keras.Variable):
            return rate.value.detach()
        if isinstance(rate, torch.Tensor):
            return rate.detach()
        return torch.full((), float(rate), dtype=self.dtype, device=self.device)

    def decay(self, rate, found_inf):
        """Shrinks the weights that Keras's decoupled weight decay is for."""
        decay = self.number("weight_decay")
        if decay is not None and self._decayed:
            shrink(self._decayed, 1 - decay * rate, found_inf)


def shrink(weights, factor, found_inf):
    """Multiplies weights by a factor (a 0-d tensor), unless the step is skipped."""
    if found_inf is not None:
        factor = torch.where(found_inf.view(()) > 0, torch.ones_like(factor), factor)
    torch._foreach_mul_(weights, factor)


def _laid_out(leaf, variable):
    """torch's view of a state variable, element for element where the parameter has its own.

    Fused kernels walk through raw memory. A parameter need not be contiguous: Keras's
    `Orthogonal` gives a square kernel that is a transposed matrix.
    """
    parameter = leaf.tensor
    if leaf.transform == AS_IS and not _is_dense(parameter):
        parameter.data = parameter.data.contiguous()
    view = leaf.transform.share(variable.value)
    if view.stride() != parameter.stride():
        shape, stride = parameter.shape, parameter.stride()
        dense = torch.empty_strided(shape, stride, dtype=view.dtype, device=view.device)
        dense.copy_(view)
        variable.value.data = leaf.transform.undo(dense, tuple(variable.shape))
        view = dense
    return view


def _is_dense(tensor):
    """Whether a tensor's elements lie side by side, in whatever order of axes."""
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True
