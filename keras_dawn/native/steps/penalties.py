"""Penalties on weights, as Keras's regularizers put them into the loss, for many at once."""

from operator import is_

from keras_dawn.foundation.norms import norms_of
from keras_dawn.native.steps.settings import Settings, frozen

import torch


class Penalties:
    """The sum of the penalties on weights with `L1`, `L2` or `L1L2`.

    Weights with one factor are summed up in one call, and get their gradients in one: by the loss
    that is differentiated, or beside it, which spares a copy of each. Factors are read in every
    step.

    Args:
        variables: list of Keras variables whose regularizer is one of these.
        tensors: list of the tensors that are to get the gradients, one for each.
    """

    def __init__(self, variables, tensors):
        self._regularizers = [variable.regularizer for variable in variables]
        self._paths = [variable.path for variable in variables]
        self._tensors = tensors
        unique = {id(regularizer): regularizer for regularizer in self._regularizers}
        self._settings = list(map(Settings, unique.values()))
        self._factors, self._groups = None, []  # factors as they were, and what they make

    def are_on(self, tensors):
        """Whether these are the tensors."""
        return len(tensors) == len(self._tensors) and all(map(is_, tensors, self._tensors))

    def settings(self):
        """What adding the penalties reads."""
        self._follow()  # now: within a capture nobody may ask for a number
        return tuple(settings() for settings in self._settings)

    def added_to(self, loss):
        """A loss, a 0-d tensor, with the penalties."""
        self._follow()
        for penalty, factor, tensors in self._groups:
            loss = loss + penalty.apply(factor, *tensors)
        return loss

    def add_gradients(self, scale=None):
        """Adds the penalties' own gradients to those that the tensors have; to be called without.

        Args:
            scale: 0-d tensor that the loss was multiplied by, or `None`.

        Returns:
            The sum of the penalties, a 0-d tensor.
        """
        self._follow()
        values = []
        for penalty, factor, tensors in self._groups:
            values.append(penalty.value(factor, tensors))
            for tensor in tensors:
                if tensor.grad is None:  # what no output depends on
                    tensor.grad = torch.zeros_like(tensor)
            penalty.add(factor, scale, [tensor.grad for tensor in tensors], tensors)
        return sum(values)

    def _follow(self):
        """Takes up factors that were changed; `L1` keeps a tensor, maybe written to in place."""
        factors = [(getattr(r, "l1", 0.0), getattr(r, "l2", 0.0)) for r in self._regularizers]
        now = [frozen(factor) for pair in factors for factor in pair]
        if now != self._factors:
            self._check_numbers(factors)
            self._factors, self._groups = now, self._grouped(factors)

    def _check_numbers(self, factors):
        """Raises `ValueError` where an `L1` was made while shapes alone were computed.

        Plain Keras then adds whatever lies in memory to the loss.
        """
        for path, pair in zip(self._paths, factors, strict=True):
            if any(isinstance(f, torch.Tensor) and f.is_meta for f in pair):
                raise ValueError(
                    f"The factor of the regularizer of {path} is not known: Keras made it on "
                    "torch's meta device, as the layer makes it in `build` and Keras built the "
                    "model from shapes. Make it in the layer's `__init__`, such as "
                    "`self.regularizer = keras.regularizers.L1(0.01)`."
                )

    def _grouped(self, factors):
        groups = {}
        for tensor, pair in zip(self._tensors, factors, strict=True):
            for kind, factor in zip((Absolute, Squares), map(float, pair), strict=True):
                if factor:
                    # By dtype too, as `norms_of` gives each norm in its tensor's.
                    groups.setdefault((kind, factor, tensor.dtype), []).append(tensor)
        return [(kind, factor, tensors) for (kind, factor, _), tensors in groups.items()]


class Squares(torch.autograd.Function):
    """factor · Σ w², over all elements of some weights."""

    @staticmethod
    def forward(ctx, factor, *weights):
        ctx.factor = factor
        ctx.save_for_backward(*weights)
        return Squares.value(factor, weights)

    @staticmethod
    def backward(ctx, gradient):
        return None, *torch._foreach_mul(ctx.saved_tensors, gradient * (2 * ctx.factor))

    @staticmethod
    def value(factor, weights):
        """The penalty."""
        # The square of each norm: the squares of all weights are never written to memory.
        return torch.stack(norms_of(weights)).square().sum() * factor

    @staticmethod
    def add(factor, scale, gradients, weights):
        """Adds the penalty's gradients, times `scale` where there is one, in place."""
        if scale is None:
            torch._foreach_add_(gradients, weights, alpha=2 * factor)
        else:
            torch._foreach_add_(gradients, torch._foreach_mul(weights, scale * (2 * factor)))


class Absolute(torch.autograd.Function):
    """factor · Σ |w|, over all elements of some weights."""

    @staticmethod
    def forward(ctx, factor, *weights):
        ctx.factor = factor
        ctx.save_for_backward(*weights)
        return Absolute.value(factor, weights)

    @staticmethod
    def backward(ctx, gradient):
        signs = torch._foreach_sign(ctx.saved_tensors)
        torch._foreach_mul_(signs, gradient * ctx.factor)
        return None, *signs

    @staticmethod
    def value(factor, weights):
        """The penalty."""
        return torch.stack(norms_of(weights, 1)).sum() * factor

    @staticmethod
    def add(factor, scale, gradients, weights):
        """Adds the penalty's gradients, times `scale` where there is one, in place."""
        signs = torch._foreach_sign(weights)
        if scale is not None:
            torch._foreach_mul_(signs, scale)
        torch._foreach_add_(gradients, signs, alpha=factor)
