"""Fused stochastic gradient descent, in torch's form and in Keras's."""

from keras_dawn.native.steps.updates.fused import Fused, shrink
from keras_dawn.native.steps.updates.layout import in_memory_order
from keras_dawn.native.steps.updates.numbers import add_, factor_for, scale_

import torch


class TorchFormSGD(Fused):
    """`keras_dawn.SGD`, one fused call for each group of decay and rate multiplier."""

    skips_itself = True

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._velocities = self.state("_velocities") if optimizer._velocities else None
        self._sorted = self._groups = None

    def _grouped(self):
        """The numbers and velocities of the weights that are updated alike, by their traits."""
        optimizer = self.optimizer
        if self._sorted is not optimizer._traits:  # weights were excluded from decay since
            self._sorted, self._groups = optimizer._traits, {}
            for number, place in enumerate(self._places):
                group = self._groups.setdefault(self._sorted[place], ([], []))
                group[0].append(number)
                if self._velocities:
                    group[1].append(self._velocities[number])
        return self._groups

    def decay(self, rate, skip):
        """Nothing: the decay is part of the step."""

    def take_step(self, gradients, rate, skip):
        optimizer = self.optimizer
        for traits, (numbers, velocities) in self._grouped().items():
            weights = [self.parameters[n] for n in numbers]
            own = [gradients[n] for n in numbers]
            group_rate = rate if traits.multiplier == 1.0 else rate * traits.multiplier
            decay = factor_for(rate, self.changing("weight_decay")) * traits.decay
            if traits.decay and optimizer.weight_decay and optimizer.decoupled:
                shrink(weights, 1 - group_rate * decay, skip)
                decay = 0.0
            if isinstance(decay, torch.Tensor):
                own = torch._foreach_add(own, torch._foreach_mul(weights, decay))
                decay = 0.0
            # A schedule may pass momentum 0 and come back.
            if velocities and not optimizer.momentum:
                _keep(velocities, own, weights, decay, skip)
                velocities = []
            momentum = self.changing("momentum") if velocities else 0.0
            if isinstance(momentum, torch.Tensor) and optimizer.nesterov:
                own = _ahead(velocities, own, weights, decay, momentum, skip)
                velocities, decay, momentum = [], 0.0, 0.0
            elif isinstance(momentum, torch.Tensor):
                slow_down(velocities, momentum, skip)
                momentum = 1.0
            torch._fused_sgd_(
                *in_memory_order(weights, own, velocities),
                weight_decay=decay,
                momentum=momentum,
                lr=group_rate,
                dampening=0.0,
                nesterov=bool(optimizer.nesterov and velocities),
                maximize=False,
                is_first_step=False,
                found_inf=skip,
            )

    def kept_on_device(self):
        return self.optimizer.on_device()


def _keep(velocities, gradients, weights, decay, skip):
    """With momentum 0 the velocities are the last gradients; the fused kernel forgets them."""
    _put(torch._foreach_add(gradients, weights, alpha=decay), velocities, skip)


def _ahead(velocities, gradients, weights, decay, momentum, skip):
    """Nesterov's direction for a momentum on the device; the velocities become the new ones."""
    factor = factor_for(weights[0], momentum)
    if decay:
        gradients = torch._foreach_add(gradients, weights, alpha=decay)
    new = torch._foreach_mul(velocities, factor)
    torch._foreach_add_(new, gradients)
    _put(new, velocities, skip)
    return torch._foreach_add(gradients, torch._foreach_mul(new, factor))


def _put(new, velocities, skip):
    if skip is not None:
        new = [torch.where(skip.view(()) > 0, v, n) for v, n in zip(velocities, new, strict=True)]
    torch._foreach_copy_(velocities, new)


def slow_down(velocities, momentum, skip):
    """Multiplies velocities by a momentum on the device, unless the step is skipped.

    A fused kernel, which takes a Python number, then adds the gradients with a momentum of 1.
    """
    shrink(velocities, factor_for(velocities[0], momentum), skip)


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

    @property
    def skips_itself(self):
        return self._is_fused()

    def _is_fused(self):
        """Whether one call takes the step; with Nesterov the kernel needs a Python number."""
        moves = isinstance(self.changing("momentum"), torch.Tensor)
        return self.dtype == torch.float32 and not (moves and self.optimizer.nesterov)

    def take_step(self, gradients, rate, skip):
        if self.number("momentum") and not self._velocities:
            # Built without momentum: Keras has an error of its own for that.
            self.step_by_its_own_code(gradients)
        elif self._is_fused():
            self._step_fused(gradients, rate, skip)
        else:
            self._step_in_full(gradients, rate)

    def _step_fused(self, gradients, rate, skip):
        keeps, momentum = bool(self.number("momentum")), self.changing("momentum")
        if keeps and isinstance(momentum, torch.Tensor):
            slow_down(self._velocities, momentum, skip)
            momentum = 1.0
        velocities = self._velocities if keeps else []  # without momentum Keras leaves them alone
        torch._fused_sgd_(
            *in_memory_order(self.parameters, gradients, velocities),
            weight_decay=0.0,
            momentum=momentum if keeps else 0.0,
            lr=self._minus_one if keeps else rate,
            dampening=0.0,
            nesterov=bool(self.optimizer.nesterov and keeps),
            maximize=keeps,
            is_first_step=False,
            grad_scale=rate.reciprocal() if keeps else None,
            found_inf=skip,
        )

    def _step_in_full(self, gradients, rate):
        steps = torch._foreach_mul(gradients, rate)
        if not self.number("momentum"):
            torch._foreach_sub_(self.parameters, steps)
            return
        momentum = self.changing("momentum")
        scale_(self._velocities, momentum)
        torch._foreach_sub_(self._velocities, steps)
        if self.optimizer.nesterov:
            torch._foreach_sub_(self.parameters, steps)
            add_(self.parameters, self._velocities, momentum)
        else:
            torch._foreach_add_(self.parameters, self._velocities)
