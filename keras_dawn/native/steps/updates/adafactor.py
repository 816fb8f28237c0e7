"""Adafactor, in Keras's form."""

from keras_dawn.foundation import keras_optimizers, keras_variables
from keras_dawn.foundation.norms import norms_of
from keras_dawn.native.steps.updates.fused import Fused

import torch


class Adafactor(Fused):
    """`keras.optimizers.Adafactor`: second moments of rows and columns, in Keras's shapes."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self.state("_v")
        self._weights = [keras_variables.memory_of(leaf.variable) for leaf in leaves]
        self._rows, self._columns, self._squares = (
            [keras_variables.memory_of(variables[place]) for place in self._places]
            for variables in (
                keras_optimizers.state_variables(optimizer, name) for name in ("_r", "_c", "_v")
            )
        )
        sizes = [max(1, weight.numel()) ** 0.5 for weight in self._weights]
        # Made once, as a copy to a GPU would be waited for.
        self._root_sizes = torch.tensor(sizes, dtype=self.dtype, device=self.device)

    def more_state(self):
        of_matrices = [place for place, w in enumerate(self._weights) if w.ndim >= 2]
        return [part[place] for place in of_matrices for part in (self._rows, self._columns)]

    def take_step(self, gradients, rate, skip):
        step = (self.updates_before() + 1).to(self.dtype)
        if self.optimizer.relative_step and not keras_optimizers.rate_is_called(self.optimizer):
            rate = torch.minimum(rate, step.rsqrt())
        rho = torch.minimum(rate, step.rsqrt())
        beta = 1 - step.pow(self.number("beta_2_decay"))
        gradients = self.in_keras_shapes(gradients)
        squares = torch._foreach_mul(gradients, gradients)
        torch._foreach_add_(squares, self.number("epsilon_1"))
        parts = zip(self._rows, self._columns, self._squares, squares, strict=True)
        for rows, columns, average, square in parts:
            if square.ndim < 2:
                _average_in(average, square, beta)
                continue
            _average_in(rows, square.mean(-1), beta)
            _average_in(columns, square.mean(-2), beta)
            # The second moments of a matrix from sums of its rows and columns (Shazeer & Stern
            # 2018).
            share = rows / rows.mean(-1, keepdim=True)
            torch.mul(share.unsqueeze(-1), columns.unsqueeze(-2), out=average)
        steps = torch._foreach_div(gradients, torch._foreach_sqrt(self._squares))
        too_long = self._root_mean_squares(steps) / self.number("clip_threshold")
        sizes = self._root_mean_squares(self._weights).clamp_min(self.number("epsilon_2"))
        factors = sizes * rho / too_long.clamp_min(1.0)
        torch._foreach_mul_(steps, list(factors.unbind()))
        torch._foreach_sub_(self._weights, steps)

    def _root_mean_squares(self, tensors):
        """Tensor `(len(tensors),)`."""
        return torch.stack(norms_of(tensors)) / self._root_sizes


def _average_in(average, new, beta):
    average.mul_(beta).add_(new * (1 - beta))
