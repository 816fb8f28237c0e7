"""Optimizers that Keras lacks or has in another form."""

import re

import keras
import torch


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
        **kwargs: `name`, `clipnorm`, `use_ema` and the other arguments of
            `keras.optimizers.Optimizer`.

    Raises:
        ValueError: a value out of range, or a bad regular expression.

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
        **kwargs,
    ):
        if nesterov and not momentum > 0:
            raise ValueError(f"Nesterov needs momentum above 0, got momentum={momentum}.")
        # Keras applies its own decoupled decay to whatever it finds in `weight_decay`.
        super().__init__(learning_rate=learning_rate, weight_decay=None, **kwargs)
        self.nesterov = bool(nesterov)
        self.decoupled = bool(decoupled)
        self.no_decay = list(no_decay)
        self.rate_multipliers = dict(rate_multipliers or {})
        for pattern in [*self.no_decay, *self.rate_multipliers]:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"{pattern!r} is not a regular expression: {error}.") from None
        self._velocities = []
        self.momentum = momentum
        self.weight_decay = weight_decay

    @property
    def momentum(self):
        """float in [0, 1); may be set at any time."""
        return self._momentum

    @momentum.setter
    def momentum(self, value):
        if not 0 <= value < 1:
            raise ValueError(f"`momentum` must be in [0, 1), got {value}.")
        if value > 0 and self.built and not self._velocities:
            raise ValueError(
                "This SGD was built with momentum=0 and keeps no velocity: "
                "make it with momentum above 0."
            )
        self._momentum = float(value)
        if self.built:
            self._device_momentum.fill_(value)

    @property
    def weight_decay(self):
        """float from 0 up; may be set at any time."""
        return self._weight_decay

    @weight_decay.setter
    def weight_decay(self, value):
        if value is None:
            value = 0.0
        if value < 0:
            raise ValueError(f"`weight_decay` must be 0 or more, got {value}.")
        self._weight_decay = float(value)
        if getattr(self, "built", False):
            self._device_decay.fill_(value)

    def build(self, variables):
        """Makes a velocity for each variable and sorts the variables into groups."""
        if self.built:
            return
        if self.momentum > 0:
            self._velocities = self.add_optimizer_variables(variables, "velocity")
        # Plain tensors, not Keras variables: the config already carries these two numbers.
        like = variables[0].value.detach()
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        self._device_momentum = like.new_tensor(self._momentum, dtype=dtype)
        self._device_decay = like.new_tensor(self._weight_decay, dtype=dtype)
        super().build(variables)
        self._traits = [(self._decays(v), self._multiplier(v)) for v in variables]

    def _decays(self, variable):
        excluded = any(re.search(pattern, variable.path) for pattern in self.no_decay)
        return not excluded and self._use_weight_decay(variable)

    def _multiplier(self, variable):
        for pattern, multiplier in self.rate_multipliers.items():
            if re.search(pattern, variable.path):
                return float(multiplier)
        return 1.0

    def _apply_weight_decay(self, variables):
        """Nothing: the decay is part of the update."""

    @torch.no_grad()
    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        rate = learning_rate.value if isinstance(learning_rate, keras.Variable) else learning_rate
        groups = {}
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            velocity = self._velocities[index].value if self._velocities else None
            group = groups.setdefault((*self._traits[index], variable.dtype), ([], [], []))
            for items, item in zip(group, (variable.value, gradient, velocity), strict=True):
                items.append(item)
        for (decays, multiplier, _), group in groups.items():
            self._update_group(*group, decays, rate if multiplier == 1.0 else rate * multiplier)

    def _update_group(self, weights, gradients, velocities, decays, rate):
        decay = self._device_decay
        momentum = self._device_momentum
        rate = rate.to(weights[0].dtype)
        if decays and self._weight_decay:
            if self.decoupled:
                torch._foreach_mul_(weights, (1 - rate * decay).to(rate.dtype))
            else:
                gradients = torch._foreach_add(gradients, torch._foreach_mul(weights, decay))
        if velocities[0] is not None:
            torch._foreach_mul_(velocities, momentum)
            torch._foreach_add_(velocities, gradients)
            if self.nesterov:
                gradients = torch._foreach_add(gradients, torch._foreach_mul(velocities, momentum))
            else:
                gradients = velocities
        torch._foreach_sub_(weights, torch._foreach_mul(gradients, rate))

    def get_config(self):
        config = super().get_config()
        config.update(
            momentum=self.momentum,
            nesterov=self.nesterov,
            weight_decay=self.weight_decay,
            decoupled=self.decoupled,
            no_decay=self.no_decay,
            rate_multipliers=self.rate_multipliers,
        )
        return config
