"""Adam's relatives: a first moment, and something to divide it by."""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.foundation.norms import norms_of
from keras_dawn.native.steps.updates.adam import BetaPowers, average_of_squares, moments, step_by
from keras_dawn.native.steps.updates.fused import Fused
from keras_dawn.native.steps.updates.numbers import add_, factor_for, scale_

import torch


class Adamax(Fused):
    """`keras.optimizers.Adamax`: the largest gradient instead of a second moment."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._first, self._largest = self.state("_m"), self.state("_u")
        self._beta_powers = BetaPowers(self)

    def take_step(self, gradients, rate, skip):
        beta_1, beta_2 = self.changing("beta_1"), self.changing("beta_2")
        (power,) = self._beta_powers((beta_1,)).unbind()
        scale_(self._first, beta_1)
        add_(self._first, gradients, 1 - beta_1)
        scale_(self._largest, beta_2)
        torch._foreach_maximum_(self._largest, torch._foreach_abs(gradients))
        below = torch._foreach_add(self._largest, self.number("epsilon"))
        torch._foreach_mul_(below, 1 - power)
        step_by(self.parameters, torch._foreach_mul(self._first, rate), below)


class Nadam(Fused):
    """`keras.optimizers.Nadam`, its product of momenta on the device."""

    rescales = True

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._first, self._second = self.state("_momentums"), self.state("_velocities")
        self._product = keras_optimizers.product_of_momenta(optimizer)
        self._powers, self._next_powers = BetaPowers(self), BetaPowers(self, ahead=2)

    def more_state(self):
        return [self._product]

    def take_step(self, gradients, rate, skip):
        beta_1, beta_2 = self.changing("beta_1"), self.changing("beta_2")
        momentum = factor_for(self.parameters[0], beta_1)
        faded, power = self._powers((0.96, beta_2)).unbind()
        # Momentum grows towards beta_1 by Dozat's schedule (2016), with Keras's constants.
        now = momentum * (1.0 - 0.5 * faded)
        (faded,) = self._next_powers((0.96,)).unbind()
        after = momentum * (1.0 - 0.5 * faded)
        self._product.copy_(self._product * now)
        moments(self._first, self._second, gradients, (beta_1, beta_2))
        ahead = torch._foreach_mul(self._first, after)
        torch._foreach_div_(ahead, 1 - self._product * after)
        torch._foreach_mul_(gradients, 1 - now)
        torch._foreach_div_(gradients, 1 - self._product)
        torch._foreach_add_(ahead, gradients)
        torch._foreach_mul_(ahead, rate)
        below = torch._foreach_sqrt(torch._foreach_div(self._second, 1 - power))
        torch._foreach_add_(below, self.number("epsilon"))
        step_by(self.parameters, ahead, below)


class Lamb(Fused):
    """`keras.optimizers.Lamb`: Adam's step, as long as the weight it is for."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._first, self._second = self.state("_momentums"), self.state("_velocities")
        self._beta_powers = BetaPowers(self)

    def take_step(self, gradients, rate, skip):
        betas = self.changing("beta_1"), self.changing("beta_2")
        first, second = (1 - self._beta_powers(betas)).unbind()
        moments(self._first, self._second, gradients, betas)
        steps = torch._foreach_div(self._first, first)
        below = torch._foreach_sqrt(torch._foreach_div(self._second, second))
        torch._foreach_add_(below, self.number("epsilon"))
        torch._foreach_div_(steps, below)
        of_weights = torch.stack(norms_of(self.parameters))
        of_steps = torch.stack(norms_of(steps))
        # Chosen on the device; of a weight of zeros the ratio would hold it at 0.
        trusted = (of_weights > 0) & (of_steps > 0)
        ratios = torch.where(trusted, of_weights / of_steps, 1.0) * rate
        torch._foreach_mul_(steps, list(ratios.unbind()))
        torch._foreach_sub_(self.parameters, steps)


class ScheduleFreeAdamW(Fused):
    """`keras.optimizers.ScheduleFreeAdamW`, from the weights that Keras keeps between steps."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._fast, self._second = self.state("_momentums"), self.state("_velocities")
        self._beta_powers = BetaPowers(self)

    def take_step(self, gradients, rate, skip):
        beta_1, beta_2 = self.changing("beta_1"), self.changing("beta_2")
        step = (self.updates_before() + 1).to(self.dtype)
        if self.optimizer.warmup_steps > 0:
            rate = rate * (step / self.optimizer.warmup_steps).clamp_max(1.0)
        (power,) = self._beta_powers((beta_2,)).unbind()
        average_of_squares(self._second, gradients, beta_2)
        below = torch._foreach_sqrt(torch._foreach_div(self._second, 1 - power))
        torch._foreach_add_(below, self.number("epsilon"))
        step_by(self._fast, torch._foreach_mul(gradients, rate), below)
        # A bug of Keras's that is followed: on torch its copy of the old momentum is the same
        # tensor as the new one, which has been written by then.
        weights, share = self.parameters, step.reciprocal()
        part = torch._foreach_mul(self._fast, factor_for(weights[0], 1 - beta_1))
        beta_1 = factor_for(weights[0], beta_1)
        torch._foreach_sub_(weights, part)
        torch._foreach_div_(weights, beta_1)
        torch._foreach_mul_(weights, 1 - share)
        torch._foreach_add_(weights, torch._foreach_mul(self._fast, share))
        torch._foreach_mul_(weights, beta_1)
        torch._foreach_add_(weights, part)
