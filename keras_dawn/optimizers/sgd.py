"""Stochastic gradient descent in torch's form."""

import numbers
from typing import NamedTuple

from keras_dawn.foundation import keras_optimizers
from keras_dawn.optimizers.numbers_in_range import number
from keras_dawn.optimizers.patterns import (
    check_matches,
    check_multipliers,
    check_patterns,
    first_match,
    matches,
)

import keras
import torch


class Traits(NamedTuple):
    """How a variable is updated."""

    decay: float  # times `weight_decay`; 0 for none
    multiplier: float  # of the learning rate
    kind: str  # by which rule; subclasses have several


@keras.saving.register_keras_serializable(package="keras_dawn")
class SGD(keras.optimizers.Optimizer):
    """Stochastic gradient descent as in `torch.optim.SGD`.

    Published hyper-parameters (fast.ai's and nearly all since) assume this form:

        g ← g + weight_decay · w                       (coupled L2)
        v ← momentum · v + g
        w ← w − learning_rate · v                      (nesterov: g + momentum · v)

    `keras.optimizers.SGD` keeps the rate inside the velocity and decays weights apart
    from the gradient: the same for a constant rate without decay, different once the
    rate changes or weights decay.

    Rate, momentum and decay are kept on the device, so that changing them before every
    step neither waits for the device nor recompiles anything.

    Args:
        learning_rate: float or a `LearningRateSchedule`.
        momentum: float in [0, 1). With 0 no velocity is kept, and momentum cannot be
            raised later.
        nesterov: bool, whether to look ahead by one step.
        weight_decay: float from 0 up.
        decoupled: bool; if `True`, weights shrink by `learning_rate · weight_decay`
            apart from the gradient and its velocity (Loshchilov & Hutter 2017,
            arXiv:1711.05101).
        no_decay: list of regular expressions; a variable whose path matches one is not
            decayed, for instance `["bias", "gamma", "beta"]`.
        rate_multipliers: dict from regular expression to float: the rate of the
            variables whose path matches is multiplied; the first match counts.
        decay_multipliers: the same for `weight_decay`.
        **kwargs: `name`, `clipnorm`, `use_ema` and the other arguments of
            `keras.optimizers.Optimizer`.

    Raises:
        ValueError: a value out of range, a bad regular expression, or at the first step one of
            `rate_multipliers` and `decay_multipliers` that matches no variable.

    Example:
        >>> optimizer = keras_dawn.SGD(0.1, momentum=0.9, weight_decay=5e-4)
        >>> optimizer.momentum = 0.85
        >>> round(optimizer.momentum, 4)
        0.85
    """

    def __init__(
        self,
        learning_rate=0.01,
        momentum=0.9,
        nesterov=False,
        weight_decay=0.0,
        *,
        decoupled=False,
        no_decay=(),
        rate_multipliers=None,
        decay_multipliers=None,
        **kwargs,
    ):
        if nesterov and not number("momentum", momentum, "in [0, 1)", below=1) > 0:
            raise ValueError(f"Nesterov needs momentum above 0, got momentum={momentum}.")
        if isinstance(learning_rate, (str, numbers.Real)) or learning_rate is None:
            wanted = "a finite number from 0 up, or a schedule"
            learning_rate = number("learning_rate", learning_rate, wanted)
        # Keras applies its own decoupled decay to whatever it finds in `weight_decay`.
        super().__init__(learning_rate=learning_rate, weight_decay=None, **kwargs)
        self.nesterov = bool(nesterov)
        self.decoupled = bool(decoupled)
        self.no_decay = check_patterns(no_decay)
        self.rate_multipliers = check_multipliers("rate_multipliers", rate_multipliers)
        self.decay_multipliers = check_multipliers("decay_multipliers", decay_multipliers)
        self._velocities = []
        self.momentum = momentum
        self.weight_decay = weight_decay

    @property
    def momentum(self):
        """float in [0, 1); may be set at any time."""
        return self._momentum

    @momentum.setter
    def momentum(self, value):
        value = number("momentum", value, "in [0, 1)", below=1)
        # Velocities are made once, and a captured step holds their memory.
        if value > 0 and self.built and not self._velocities:
            raise ValueError(
                "This SGD was built with momentum=0 and keeps no velocity: "
                "make it with momentum above 0."
            )
        self._momentum = value
        if self.built:
            self._device_momentum.fill_(value)

    @property
    def weight_decay(self):
        """float from 0 up; may be set at any time."""
        return self._weight_decay

    @weight_decay.setter
    def weight_decay(self, value):
        value = number("weight_decay", 0.0 if value is None else value, "0 or more, and finite")
        self._weight_decay = value
        if getattr(self, "built", False):
            self._device_decay.fill_(value)

    def build(self, variables):
        """Makes a velocity for each variable and sorts the variables into groups."""
        if self.built:
            return
        for name in ("rate_multipliers", "decay_multipliers"):
            check_matches(getattr(self, name), variables, name)
        if self.momentum > 0:
            self._velocities = self.add_optimizer_variables(variables, "velocity")
        # Plain tensors, not Keras variables: the config already carries these two numbers.
        like = variables[0].value.detach() if variables else torch.zeros(())
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self._device_momentum = like.new_tensor(self._momentum, dtype=dtype)
        self._device_decay = like.new_tensor(self._weight_decay, dtype=dtype)
        super().build(variables)
        self._sort(variables)

    def exclude_from_weight_decay(self, var_list=None, var_names=None):
        """Leaves variables without decay, as for Keras's optimizers: before the first step, or
        of one that was loaded with its model, whose file does not say which they are."""
        super().exclude_from_weight_decay(var_list, var_names)
        if self.built:
            self._sort(keras_optimizers.trainable_variables(self))

    def _sort(self, variables):
        # A new list each time: whoever has grouped the variables by the old one sees that.
        self._traits = [
            Traits(self._decay(v), first_match(self.rate_multipliers, v), self._kind(v))
            for v in variables
        ]

    def on_device(self):
        """The hyper-parameters that are kept in 0-d tensors, by name; `build` makes them."""
        return {"momentum": self._device_momentum, "weight_decay": self._device_decay}

    def _decay(self, variable):
        if matches(self.no_decay, variable) or not self._use_weight_decay(variable):
            return 0.0
        return first_match(self.decay_multipliers, variable)

    def _kind(self, variable):
        return "plain"

    def _apply_weight_decay(self, variables):
        """Nothing: the decay is part of the update."""

    @torch.no_grad()
    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        rate = learning_rate.value if isinstance(learning_rate, keras.Variable) else learning_rate
        # A schedule or a function of the user's may return a Python number.
        if not isinstance(rate, torch.Tensor):
            rate = keras.ops.convert_to_tensor(rate)
        groups = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            velocity = self._velocities[index].value if self._velocities else None
            # One call of torch for all weights of a group; `_foreach` wants one dtype.
            group = groups.setdefault((self._traits[index], variable.dtype), ([], [], []))
            for items, item in zip(group, (variable.value, gradient, velocity), strict=True):
                items.append(item)
        for (traits, _), group in groups.items():
            group_rate = rate if traits.multiplier == 1.0 else rate * traits.multiplier
            self._update_group(traits, *group, group_rate)

    def _update_group(self, traits, weights, gradients, velocities, rate):
        """Updates weights with the same traits; `rate` is a 0-d tensor, multiplied already."""
        if traits.decay and self._weight_decay:
            decay = self._decay_of(traits)
            if self.decoupled:
                # Before the step and by the present rate, as torch.optim.AdamW does it.
                shrunk = 1 - rate.to(weights[0].dtype) * decay
                torch._foreach_mul_(weights, shrunk.to(weights[0].dtype))
            else:
                gradients = torch._foreach_add(gradients, torch._foreach_mul(weights, decay))
        self._momentum_step(weights, gradients, velocities, rate, self._momentum_of(traits))

    def _decay_of(self, traits):
        """The decay of a group, a 0-d tensor."""
        return self._device_decay if traits.decay == 1.0 else self._device_decay * traits.decay

    def _momentum_of(self, traits):
        return self._device_momentum

    def _momentum_step(self, weights, gradients, velocities, rate, momentum):
        directions = self._directions(gradients, velocities, momentum)
        torch._foreach_sub_(weights, torch._foreach_mul(directions, rate.to(weights[0].dtype)))

    def _directions(self, gradients, velocities, momentum):
        """Takes the gradients up into the velocities, if there are any."""
        if velocities[0] is None:
            return gradients
        torch._foreach_mul_(velocities, momentum)
        torch._foreach_add_(velocities, gradients)
        if self.nesterov:
            return torch._foreach_add(gradients, torch._foreach_mul(velocities, momentum))
        return velocities

    def get_config(self):
        config = super().get_config()
        config.update(
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            decoupled=self.decoupled,
            no_decay=self.no_decay,
            rate_multipliers=self.rate_multipliers,
            decay_multipliers=self.decay_multipliers,
        )
        return config
