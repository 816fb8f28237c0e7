"""Optimizer steps on torch's leaves: fused where the formula is known, else Keras's own."""

from keras_dawn.native import keras_internals
from keras_dawn.optimizers import LARS, SGD, Muon

import keras
import torch


def make_update(optimizer, leaves):
    """The update that fits an optimizer.

    Args:
        optimizer: built Keras optimizer, without `LossScaleOptimizer` around it.
        leaves: list of `Leaf`, the trainable parameters that the graph uses.

    Returns:
        An object with `scale(loss)`, `step()`, which uses and clears the leaves' gradients,
        and `reason` (why it is not fused, or `None`).
    """
    reason = _why_not_fused(optimizer)
    kind = type(optimizer)
    if reason is None:
        if kind is SGD:
            return TorchFormSGD(optimizer, leaves)
        if kind in (LARS, Muon):
            return OwnForm(optimizer, leaves)
        if isinstance(optimizer, keras.optimizers.SGD):
            return KerasFormSGD(optimizer, leaves)
        return KerasFormAdam(optimizer, leaves)
    return KerasApply(optimizer, leaves, reason)


def _why_not_fused(optimizer):
    known = (keras.optimizers.SGD, keras.optimizers.Adam, keras.optimizers.AdamW)
    ours = type(optimizer) in (SGD, LARS, Muon)
    theirs = isinstance(optimizer, known) and type(optimizer).__module__.startswith("keras.")
    if not ours and not theirs:
        return f"{type(optimizer).__name__} steps by its own code"
    for name in ("use_ema", "loss_scale_factor", "gradient_accumulation_steps", "amsgrad"):
        if getattr(optimizer, name, None):
            return f"{name} is applied by Keras"
    if any(v.constraint for v in keras_internals.trainable_variables(optimizer)):
        return "a weight constraint is applied by Keras"
    if not isinstance(optimizer.learning_rate, keras.Variable):
        return "the learning rate is a schedule object"
    return None


class _Update:
    """What the fused updates share: parameters, gradients, state, the step counter."""

    reason = None
    handles_found_inf = True

    def __init__(self, optimizer, leaves):
        self.optimizer = optimizer
        self.leaves = leaves
        self.parameters = [leaf.tensor for leaf in leaves]
        order = {id(v): n for n, v in enumerate(keras_internals.trainable_variables(optimizer))}
        self._places = [order[id(leaf.variable)] for leaf in leaves]

    def state(self, name):
        """torch's views of an optimizer's state, laid out like the parameters."""
        variables = keras_internals.state_variables(self.optimizer, name)
        return [
            leaf.transform.share(variables[place].value)
            for leaf, place in zip(self.leaves, self._places, strict=True)
        ]

    def scale(self, loss):
        """The loss as it is to be differentiated."""
        return loss

    def gradients(self):
        """The leaves' gradients, which are taken away."""
        gradients = [parameter.grad for parameter in self.parameters]
        for parameter, leaf in zip(self.parameters, self.leaves, strict=True):
            if parameter.grad is None:
                raise ValueError(
                    f"{leaf.variable.path} got no gradient any more. Was it frozen within an "
                    "epoch? Do it between two `fit`s, or in a callback's `on_epoch_begin`."
                )
            parameter.grad = None
        return gradients

    def clipped_gradients(self):
        """`gradients`, clipped as the optimizer says, by Keras's formulas."""
        gradients, optimizer = self.gradients(), self.optimizer
        if optimizer.clipvalue:
            torch._foreach_clamp_min_(gradients, -optimizer.clipvalue)
            torch._foreach_clamp_max_(gradients, optimizer.clipvalue)
        elif optimizer.clipnorm:
            norms = torch._foreach_norm(gradients)
            torch._foreach_clamp_min_(norms, optimizer.clipnorm)
            torch._foreach_mul_(gradients, optimizer.clipnorm)
            torch._foreach_div_(gradients, norms)
        elif optimizer.global_clipnorm:
            norm = torch.stack(torch._foreach_norm(gradients)).norm()
            limit = optimizer.global_clipnorm
            torch._foreach_mul_(gradients, limit / norm.clamp_min(limit))
        return gradients

    def count(self, found_inf):
        """Advances the optimizer's own counter, unless the step was skipped."""
        counter = keras_internals.iterations(self.optimizer).value
        if found_inf is None:
            counter.add_(1)
        else:
            counter.add_((1 - found_inf).to(counter.dtype).view(()))

    def decayed(self):
        """The weights that Keras decays; its exclusions are fixed once it is built."""
        return [
            leaf.tensor.data
            for leaf in self.leaves
            if keras_internals.uses_weight_decay(self.optimizer, leaf.variable)
        ]


def _shrink(weights, factor, found_inf):
    """Multiplies weights by a factor (a 0-d tensor), unless the step is skipped."""
    if found_inf is not None:
        factor = torch.where(found_inf.view(()) > 0, torch.ones_like(factor), factor)
    torch._foreach_mul_(weights, factor)


class TorchFormSGD(_Update):
    """`keras_dawn.SGD`, one fused call for each group of decay and rate multiplier."""

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        velocities = self.state("_velocities") if optimizer._velocities else None
        self._groups = {}
        for number, place in enumerate(self._places):
            group = self._groups.setdefault(optimizer._traits[place], ([], []))
            group[0].append(number)
            if velocities:
                group[1].append(velocities[number])

    @torch.no_grad()
    def step(self, found_inf=None):
        optimizer, gradients = self.optimizer, self.clipped_gradients()
        rate = optimizer.learning_rate.value
        for traits, (numbers, velocities) in self._groups.items():
            weights = [self.parameters[n] for n in numbers]
            group_rate = rate if traits.multiplier == 1.0 else rate * traits.multiplier
            decay = optimizer.weight_decay * traits.decay
            if decay and optimizer.decoupled:
                _shrink([w.data for w in weights], 1 - group_rate * decay, found_inf)
                decay = 0.0
            torch._fused_sgd_(
                weights,
                [gradients[n] for n in numbers],
                velocities,
                weight_decay=decay,
                momentum=optimizer.momentum if velocities else 0.0,
                lr=group_rate,
                dampening=0.0,
                nesterov=optimizer.nesterov,
                maximize=False,
                is_first_step=False,
                found_inf=found_inf,
            )
        self.count(found_inf)


class OwnForm(_Update):
    """`keras_dawn`'s other optimizers: their own update, past what Keras's `apply` adds."""

    handles_found_inf = False

    @torch.no_grad()
    def step(self, found_inf=None):
        optimizer = self.optimizer
        gradients = [
            leaf.transform.undo(gradient, tuple(leaf.variable.shape))
            for leaf, gradient in zip(self.leaves, self.clipped_gradients(), strict=True)
        ]
        variables = [leaf.variable for leaf in self.leaves]
        keras_internals.update_variables(optimizer, gradients, variables)
        self.count(None)


class KerasFormSGD(_Update):
    """`keras.optimizers.SGD`: v ← m·v − rate·g, w ← w + v, in one fused call.

    In the fused kernel's terms: the gradient is divided by 1 / rate and negated
    (`maximize`), and the step is subtracted with the rate −1.
    """

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._decayed = self.decayed()
        self._velocities = self.state("momentums") if optimizer.momentum else []
        self._minus_one = torch.tensor(-1.0, device=self.parameters[0].device)

    @torch.no_grad()
    def step(self, found_inf=None):
        optimizer, gradients = self.optimizer, self.clipped_gradients()
        rate = optimizer.learning_rate.value
        if optimizer.weight_decay is not None:
            _shrink(self._decayed, 1 - rate * optimizer.weight_decay, found_inf)
        momentum = optimizer.momentum if self._velocities else 0.0
        torch._fused_sgd_(
            self.parameters,
            gradients,
            self._velocities,
            weight_decay=0.0,
            momentum=momentum,
            lr=self._minus_one if self._velocities else rate,
            dampening=0.0,
            nesterov=bool(optimizer.nesterov and self._velocities),
            maximize=bool(self._velocities),
            is_first_step=False,
            grad_scale=rate.reciprocal().float() if self._velocities else None,
            found_inf=found_inf,
        )
        self.count(found_inf)


class KerasFormAdam(_Update):
    """`keras.optimizers.Adam` and `AdamW` in one fused call.

    Keras adds epsilon before the second moment is corrected, torch after: Keras's is
    torch's with `epsilon / sqrt(1 - beta_2 ** step)`.
    """

    handles_found_inf = False  # the step number must be known on the host

    def __init__(self, optimizer, leaves):
        super().__init__(optimizer, leaves)
        self._decayed = self.decayed()
        self._first = self.state("_momentums")
        self._second = self.state("_velocities")
        self._step = torch.zeros((), device=self.parameters[0].device)
        self._counted = None  # (version of the counter, its value)

    @torch.no_grad()
    def step(self, found_inf=None):
        optimizer, gradients = self.optimizer, self.clipped_gradients()
        rate = optimizer.learning_rate.value
        if optimizer.weight_decay is not None:
            _shrink(self._decayed, 1 - rate * optimizer.weight_decay, None)
        counter = keras_internals.iterations(optimizer).value
        if self._counted is None or self._counted[0] != counter._version:
            self._counted = (counter._version, int(counter))  # somebody else has written it
        number = self._counted[1] + 1
        self._step.fill_(number)
        correction = (1 - optimizer.beta_2**number) ** 0.5
        torch._fused_adam_(
            self.parameters,
            gradients,
            self._first,
            self._second,
            [],
            [self._step] * len(gradients),
            lr=rate,
            beta1=float(optimizer.beta_1),
            beta2=float(optimizer.beta_2),
            weight_decay=0.0,
            eps=optimizer.epsilon / correction,
            amsgrad=False,
            maximize=False,
        )
        self.count(None)
        self._counted = (counter._version, number)


class KerasApply(_Update):
    """The optimizer's own `apply`, on gradients in Keras's shapes."""

    handles_found_inf = False

    def __init__(self, optimizer, leaves, reason, applier=None):
        super().__init__(optimizer, leaves)
        self.reason = reason
        self._applier = applier or optimizer

    def scale(self, loss):
        return self._applier.scale_loss(loss)

    @torch.no_grad()
    def step(self, found_inf=None):
        gradients = [
            leaf.transform.undo(gradient, tuple(leaf.variable.shape))
            for leaf, gradient in zip(self.leaves, self.gradients(), strict=True)
        ]
        skip = None
        if self._applier is not self.optimizer:  # loss scaling: was the step skipped?
            skip = ~torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
        self._applier.apply(gradients, [leaf.variable for leaf in self.leaves])
        return skip
