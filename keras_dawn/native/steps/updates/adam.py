"""Fused Adam, in Keras's form."""

import ctypes
import math

from keras_dawn.foundation import keras_optimizers
from keras_dawn.native.steps.updates.fused import Fused
from keras_dawn.native.steps.updates.layout import in_memory_order
from keras_dawn.native.steps.updates.numbers import add_, factor_for, scale_

import torch


class KerasFormAdam(Fused):
    """`keras.optimizers.Adam` and `AdamW` in one fused call.

    Keras adds epsilon to the uncorrected second moment, and corrects both moments with one
    factor of the rate. So the kernel is told that infinitely many steps have been taken, after
    which it has nothing to correct, and gets Keras's factor with the rate. The factor comes
    from the optimizer's own counter on the device, whoever has written it.

    On a GPU torch's kernel takes 1 − β₂ in float32, where Keras rounds it once: with β₂ = 0.999
    its steps are longer by 6.5e-6 of their length.
    """

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._first = self.state("_momentums")
        self._second = self.state("_velocities")
        # Wherever the optimizer has them: AMSGrad may be switched on later.
        has = keras_optimizers.has_state(optimizer, "_velocity_hats")
        self._largest = self.state("_velocity_hats") if has else []
        self._never = [torch.full((), float("inf"), device=self.device)] * len(leaves)
        self._beta_powers = BetaPowers(self)

        self._known = (self.dtype, self.device.type) in FUSED_DTYPES

    @property
    def skips_itself(self):
        """Whether the kernel takes the step."""
        return self._is_for_the_kernel(self.changing("beta_1"), self.changing("beta_2"))

    def _is_for_the_kernel(self, *betas):
        """Whether the kernel can take these, which have to be Python numbers.

        Not a beta of 1: its power stays 1, and the kernel would divide by 1 − 1.
        """
        if any(isinstance(beta, torch.Tensor) for beta in betas):
            return False
        return self._known and max(betas) < 1

    def take_step(self, gradients, rate, skip):
        betas = self.changing("beta_1"), self.changing("beta_2")
        powers, epsilon = self._beta_powers(betas), self.number("epsilon")
        if not self._is_for_the_kernel(*betas):
            state = self._first, self._second, self._largest if self.optimizer.amsgrad else None
            adam_step(self.parameters, state, gradients, rate, betas, powers, epsilon)
            return
        largest = self._largest if self.optimizer.amsgrad else []
        torch._fused_adam_(
            *in_memory_order(self.parameters, gradients, self._first, self._second, largest),
            self._never,
            lr=(as_number if self.has_numbers() else corrected)(rate, powers),
            beta1=betas[0],
            beta2=betas[1],
            weight_decay=0.0,
            eps=epsilon,
            amsgrad=bool(self.optimizer.amsgrad),
            maximize=False,
            found_inf=skip,
        )


class BetaPowers:
    """βᵗ on the device, of the weights' dtype, for the step t that an update is about to take.

    Args:
        update: `Fused`.
        ahead: int, 1 for that step, 2 for the one after it.
    """

    def __init__(self, update, ahead=1):
        self._update = update
        self._ahead = ahead
        self._betas, self._on_device = None, None

    def __call__(self, betas):
        """Tensor `(len(betas),)`, for a tuple of numbers or 0-d tensors."""
        update = self._update
        if any(isinstance(beta, torch.Tensor) for beta in betas):
            like = update.parameters[0]
            factors = [factor_for(like, beta) for beta in betas]
            powers = torch.stack([like.new_ones(()) * factor for factor in factors])
            return powers.pow(update.updates_before() + self._ahead)
        if self._betas != betas:  # for a graph only once: numbers that change are tensors then
            self._on_device = torch.tensor(betas, dtype=update.dtype, device=update.device)
            self._betas = betas
        return self._on_device.pow(update.updates_before() + self._ahead)


def corrected(rate, powers):
    """rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ), as Keras corrects both moments, of the powers of both."""
    # Both from the device: a power of Python's would need the step's number on the host.
    first, second = (1 - powers).unbind()
    return rate * second.sqrt() / first


def as_number(rate, powers):
    """`corrected` as a Python number, by the same roundings; for tensors on a processor."""
    rounded = _single if powers.dtype == torch.float32 else float
    first, second = [rounded(1 - power) for power in powers.tolist()]
    if not first:  # torch knows what a number divided by 0 is
        return corrected(rate, powers)
    return rounded(rounded(rate.tolist() * rounded(math.sqrt(second))) / first)


def _single(number):
    """A Python number rounded to float32, as an operation of torch's rounds its result."""
    return ctypes.c_float(number).value


def adam_step(weights, state, gradients, rate, betas, powers, epsilon):
    """Adam's step in Keras's form, for any dtype.

    Args:
        weights, gradients: lists of tensors.
        state: first and second moments, and the largest second moments for AMSGrad or `None`.
        rate: 0-d tensor.
        betas: two numbers, or 0-d tensors. powers: tensor `(2,)`, theirs. epsilon: number.
    """
    first, second, largest = (*state, None)[:3]
    moments(first, second, gradients, betas)
    if largest is not None:
        torch._foreach_maximum_(largest, second)
        second = largest
    below = torch._foreach_sqrt(second)
    torch._foreach_add_(below, epsilon)
    step_by(weights, torch._foreach_mul(first, corrected(rate, powers)), below)


def step_by(weights, above, below):
    """weights ← weights − above / below; `above` is written over."""
    torch._foreach_div_(above, below)
    torch._foreach_sub_(weights, above)


def moments(first, second, gradients, betas):
    """Averages gradients and their squares into lists of tensors, in Keras's order of rounding."""
    scale_(first, betas[0])
    add_(first, gradients, 1 - betas[0])
    average_of_squares(second, gradients, betas[1])


def average_of_squares(averages, values, beta):
    """averages ← beta · averages + (1 − beta) · values²."""
    scale_(averages, beta)
    if isinstance(beta, torch.Tensor):
        add_(averages, torch._foreach_mul(values, values), 1 - beta)
    else:
        torch._foreach_addcmul_(averages, values, values, value=1 - beta)


FUSED_DTYPES = {(torch.float32, "cpu"), (torch.float32, "cuda"), (torch.float64, "cpu")}
