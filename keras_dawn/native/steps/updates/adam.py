"""Fused Adam in Keras's form."""

from keras_dawn.foundation import keras_internals
from keras_dawn.native.steps.updates.base import Fused

import torch


class KerasFormAdam(Fused):
    """`keras.optimizers.Adam` and `AdamW` in one fused call.

    Keras adds epsilon to the uncorrected second moment, and corrects both moments with one
    factor of the rate. So the kernel is told that infinitely many steps have been taken, after
    which it has nothing to correct, and gets Keras's factor with the rate. The factor comes
    from the optimizer's own counter on the device, whoever has written it.
    """

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._first = self.state("_momentums")
        self._second = self.state("_velocities")
        self._never = [torch.full((), float("inf"), device=self.device)] * len(leaves)
        self._betas = (None, None)

    @torch.no_grad()
    def step(self, gradients, found_inf=None):
        gradients, rate = self.clipped(gradients), self.rate()
        self.decay(rate, found_inf)
        betas = self.number("beta_1"), self.number("beta_2")
        if max(betas) < 1:
            self._step_fused(gradients, rate, betas, found_inf)
        else:  # after infinitely many steps there would be all to correct, still
            self.step_by_its_own_code(gradients)
        self.count(found_inf)

    def _step_fused(self, gradients, rate, betas, found_inf):
        torch._fused_adam_(
            self.parameters,
            gradients,
            self._first,
            self._second,
            [],
            self._never,
            lr=self._corrected(rate.to(self.dtype), betas),
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=0.0,
            eps=self.number("epsilon"),
            amsgrad=False,
            maximize=False,
            found_inf=found_inf,
        )

    def _corrected(self, rate, betas):
        """rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ), in the weights' dtype as in Keras."""
        if self._betas[0] != betas:
            on_device = torch.tensor(betas, dtype=self.dtype, device=self.device)
            self._betas = (betas, on_device)
        step = keras_internals.iterations(self.optimizer).value + 1
        first, second = (1 - self._betas[1].pow(step)).unbind()
        return rate * second.sqrt() / first
