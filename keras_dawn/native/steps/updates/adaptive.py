"""Optimizers that divide gradients by what they have been."""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.native.steps.updates.adam import average_of_squares, step_by
from keras_dawn.native.steps.updates.fused import Fused
from keras_dawn.native.steps.updates.numbers import add_, factor_for, scale_

import torch


class RMSprop(Fused):
    """`keras.optimizers.RMSprop`, centred and with momentum too."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._squares = self.state("_velocities")
        # Wherever the optimizer has it: what it is for may be switched on later.
        self._momenta, self._means = (
            self.state(name) if keras_optimizers.has_state(optimizer, name) else []
            for name in ("_momentums", "_average_gradients")
        )

    def take_step(self, gradients, rate, skip):
        rho, keeps = self.changing("rho"), self.number("momentum") > 0
        if keeps and not self._momenta:
            # Built without momentum: Keras has an error of its own for that.
            self.step_by_its_own_code(gradients)
            return
        momentum = self.changing("momentum")
        average_of_squares(self._squares, gradients, rho)
        below = torch._foreach_add(self._squares, self.number("epsilon"))
        if self.optimizer.centered:
            scale_(self._means, rho)
            add_(self._means, gradients, 1 - rho)
            torch._foreach_sub_(below, torch._foreach_mul(self._means, self._means))
        torch._foreach_sqrt_(below)
        if not keeps and self.has_numbers():
            torch._foreach_addcdiv_(self.parameters, gradients, below, value=-rate.tolist())
            return
        steps = torch._foreach_mul(gradients, rate)
        torch._foreach_div_(steps, below)
        if keeps:
            scale_(self._momenta, momentum)
            torch._foreach_add_(self._momenta, steps)
            steps = self._momenta
        torch._foreach_sub_(self.parameters, steps)


class Adagrad(Fused):
    """`keras.optimizers.Adagrad`."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._squares = self.state("_accumulators")

    def take_step(self, gradients, rate, skip):
        torch._foreach_add_(self._squares, torch._foreach_mul(gradients, gradients))
        below = torch._foreach_add(self._squares, self.number("epsilon"))
        torch._foreach_sqrt_(below)
        step_by(self.parameters, torch._foreach_mul(gradients, rate), below)


class Adadelta(Fused):
    """`keras.optimizers.Adadelta`."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._squares = self.state("_accumulated_grads")
        self._steps_squared = self.state("_accumulated_delta_vars")

    def take_step(self, gradients, rate, skip):
        rho = self.changing("rho")
        average_of_squares(self._squares, gradients, rho)
        steps = self._root(self._steps_squared)
        torch._foreach_mul_(steps, gradients)
        torch._foreach_div_(steps, self._root(self._squares))
        average_of_squares(self._steps_squared, steps, rho)
        torch._foreach_mul_(steps, rate)
        torch._foreach_sub_(self.parameters, steps)

    def _root(self, values):
        values = torch._foreach_add(values, self.number("epsilon"))
        torch._foreach_sqrt_(values)
        return values


class Lion(Fused):
    """`keras.optimizers.Lion`: the sign of an average."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._momenta = self.state("_momentums")

    def take_step(self, gradients, rate, skip):
        beta_1, beta_2 = self.changing("beta_1"), self.changing("beta_2")
        steps = torch._foreach_mul(self._momenta, factor_for(self._momenta[0], beta_1))
        add_(steps, gradients, 1 - beta_1)
        torch._foreach_sign_(steps)
        torch._foreach_mul_(steps, rate)
        torch._foreach_sub_(self.parameters, steps)
        scale_(self._momenta, beta_2)
        add_(self._momenta, gradients, 1 - beta_2)


class Ftrl(Fused):
    """`keras.optimizers.Ftrl`: follow the regularized leader."""

    rescales = True

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._squares, self._linear = self.state("_accumulators"), self.state("_linears")

    def take_step(self, gradients, rate, skip):
        power = -self.number("learning_rate_power")
        l1, l2 = (self.number(f"{name}_regularization_strength") for name in ("l1", "l2"))
        l2 = l2 + self.number("beta") / (2.0 * rate)
        shrinkage = 2 * self.number("l2_shrinkage_regularization_strength")
        # Both powers are needed: Ftrl weighs by how far the rate has fallen in this step.
        before = torch._foreach_pow(self._squares, power)
        torch._foreach_add_(self._squares, torch._foreach_mul(gradients, gradients))
        after = torch._foreach_pow(self._squares, power)
        if shrinkage:
            torch._foreach_add_(gradients, self.parameters, alpha=shrinkage)
        change = torch._foreach_sub(after, before)
        torch._foreach_div_(change, rate)
        torch._foreach_mul_(change, self.parameters)
        torch._foreach_sub_(gradients, change)
        torch._foreach_add_(self._linear, gradients)
        torch._foreach_div_(after, rate)
        torch._foreach_add_(after, 2 * l2, alpha=1)  # without alpha torch asks for the number
        clipped = torch._foreach_clamp_min(self._linear, -l1)
        torch._foreach_clamp_max_(clipped, l1)
        torch._foreach_sub_(clipped, self._linear)
        torch._foreach_div_(clipped, after)
        torch._foreach_copy_(self.parameters, clipped)
