"""Fused stochastic gradient descent, in torch's form and in Keras's."""

from keras_dawn.native.steps.updates.fused import Fused, shrink
from keras_dawn.native.steps.updates.layout import in_memory_order

import torch


class TorchFormSGD(Fused):
    """`keras_dawn.SGD`, one fused call for each group of decay and rate multiplier."""

    skips_itself = True

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        velocities = self.state("_velocities") if optimizer._velocities else None
        self._groups = {}
        for number, place in enumerate(self._places):
            group = self._groups.setdefault(optimizer._traits[place], ([], []))
            group[0].append(number)
            if velocities:
                group[1].append(velocities[number])

    def decay(self, rate, skip):
        """Nothing: the decay is part of the step."""

    def take_step(self, gradients, rate, skip):
        optimizer = self.optimizer
        for traits, (numbers, velocities) in self._groups.items():
            weights = [self.parameters[n] for n in numbers]
            own = [gradients[n] for n in numbers]
            group_rate = rate if traits.multiplier == 1.0 else rate * traits.multiplier
            decay = optimizer.weight_decay * traits.decay
            if decay and optimizer.decoupled:
                shrink(weights, 1 - group_rate * decay, skip)
                decay = 0.0
            if velocities and not optimizer.momentum:
                _keep(velocities, own, weights, decay, skip)
                velocities = []
            torch._fused_sgd_(
                *in_memory_order(weights, own, velocities),
                weight_decay=decay,
                momentum=optimizer.momentum if velocities else 0.0,
                lr=group_rate,
                dampening=0.0,
                nesterov=optimizer.nesterov,
                maximize=False,
                is_first_step=False,
                found_inf=skip,
            )


def _keep(velocities, gradients, weights, decay, skip):
    """With momentum 0 the velocities are the last gradients; the fused kernel forgets them."""
    new = torch._foreach_add(gradients, weights, alpha=decay)
    if skip is not None:
        new = [torch.where(skip.view(()) > 0, v, n) for v, n in zip(velocities, new, strict=True)]
    torch._foreach_copy_(velocities, new)


class KerasFormSGD(Fused):
    """`keras.optimizers.SGD`: v ← m·v − rate·g, w ← w + v, in one fused call.

    In the fused kernel's terms: the gradient is divided by 1 / rate and negated
    (`maximize`), and the step is subtracted with the rate −1. The kernel takes 1 / rate in
    float32 only, so weights of another dtype step by the formula itself.
    """

    rescales = True

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._velocities = self.state("momentums") if optimizer.momentums else []
        self._minus_one = torch.tensor(-1.0, device=self.device)
        self.skips_itself = self.dtype == torch.float32

    def take_step(self, gradients, rate, skip):
        momentum = self.number("momentum")
        if momentum and not self._velocities:
            # Built without momentum: Keras has an error of its own for that.
            self.step_by_its_own_code(gradients)
        elif self.dtype == torch.float32:
            self._step_fused(gradients, rate, momentum, skip)
        else:
            self._step_in_full(gradients, rate, momentum)

    def _step_fused(self, gradients, rate, momentum, skip):
        velocities = self._velocities if momentum else []  # without it Keras leaves them alone
        torch._fused_sgd_(
            *in_memory_order(self.parameters, gradients, velocities),
            weight_decay=0.0,
            momentum=momentum,
            lr=self._minus_one if momentum else rate,
            dampening=0.0,
            nesterov=bool(self.optimizer.nesterov and momentum),
            maximize=bool(momentum),
            is_first_step=False,
            grad_scale=rate.reciprocal() if momentum else None,
            found_inf=skip,
        )

    def _step_in_full(self, gradients, rate, momentum):
        steps = torch._foreach_mul(gradients, rate)
        if not momentum:
            torch._foreach_sub_(self.parameters, steps)
            return
        torch._foreach_mul_(self._velocities, momentum)
        torch._foreach_sub_(self._velocities, steps)
        if self.optimizer.nesterov:
            torch._foreach_sub_(self.parameters, steps)
            torch._foreach_add_(self.parameters, self._velocities, alpha=momentum)
        else:
            torch._foreach_add_(self.parameters, self._velocities)
