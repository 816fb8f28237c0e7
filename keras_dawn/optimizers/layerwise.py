"""Rates and decays by layer for every optimizer of Keras."""

from keras_dawn.foundation import keras_optimizers
from keras_dawn.foundation.acting_classes import acting_class
from keras_dawn.optimizers.patterns import check_matches, check_multipliers, first_match
from keras_dawn.optimizers.sgd import SGD

import keras
import torch

# Without Ftrl and ScheduleFreeAdamW: their weights are no sum of steps, so that a multiplied step
# would be another algorithm's.
NAMES = (
    "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Lamb", "Lion", "Muon", "Nadam",
    "RMSprop", "SGD",
)  # fmt: skip


def layerwise(optimizer, rates=None, decays=None):
    """The same optimizer, not yet built, with rates and decays that differ by layer.

    Args:
        optimizer: an optimizer of Keras's, or `keras_dawn.SGD`, `LARS` or `Muon`.
        rates: dict from regular expression to float: the step of the variables whose path matches,
            decay included, is multiplied, which for all these optimizers is a multiplied rate; the
            first match counts. By default those that the optimizer has.
        decays: the same for the weight decay.

    Returns:
        An optimizer of a class of its own (`LayerwiseAdamW`, …), which is saved with a model; or
        of the same class where that has multipliers itself.

    Raises:
        ValueError: a bad pattern or multiplier; an object that is not an optimizer, or one that
            takes no steps (Ftrl, ScheduleFreeAdamW) or has been built; at the first step, a pattern
            that matches no variable.

    Example:
        >>> optimizer = layerwise(keras.optimizers.AdamW(1e-3), {"^conv1": 0.01, "^layer": 0.1})
        >>> type(optimizer).__name__
        'LayerwiseAdamW'
    """
    settings = {"rate_multipliers": rates, "decay_multipliers": decays}
    settings = {name: given for name, given in settings.items() if given is not None}
    kind, config = type(optimizer), optimizer.get_config()
    if optimizer.built:
        raise ValueError(f"This {kind.__name__} has been built: give a new one.")
    if isinstance(optimizer, (SGD, _Layerwise)):
        new = kind
    elif kind.__name__ not in CLASSES or not kind.__module__.startswith("keras."):
        raise ValueError(
            f"`optimizer` must be one of {', '.join(NAMES)} of keras.optimizers, or keras_dawn's, "
            f"got {kind.__name__}."
        )
    else:
        new = CLASSES[kind.__name__]
    made = new.from_config({**config, **settings})
    keras_optimizers.copy_decay_exclusions(optimizer, made)
    return made


class _Layerwise:
    """What a layerwise optimizer does around the step of its class."""

    keras_name = None  # the name of that class

    def __init__(self, *args, rate_multipliers=None, decay_multipliers=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.rate_multipliers = check_multipliers("rate_multipliers", rate_multipliers)
        self.decay_multipliers = check_multipliers("decay_multipliers", decay_multipliers)

    def build(self, variables):
        if not self.built:
            for name in ("rate_multipliers", "decay_multipliers"):
                check_matches(getattr(self, name), variables, name)
            self._rates = {v.path: first_match(self.rate_multipliers, v) for v in variables}
            self._decays = {v.path: first_match(self.decay_multipliers, v) for v in variables}
        super().build(variables)

    def rate_of(self, variable):
        """What a variable's step is multiplied by."""
        return self._rates[variable.path]

    def decay_of(self, variable):
        """What a variable's weight decay is multiplied by, besides its step."""
        return self._decays[variable.path]

    def _apply_weight_decay(self, variables):
        factors = [self.rate_of(v) * self.decay_of(v) for v in variables]
        # Keras shrinks by rate × decay in one step of its own: both multipliers belong to it.
        with _multiplied_steps(variables, factors):
            super()._apply_weight_decay(variables)

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        factors = [self.rate_of(v) for v in trainable_variables]
        with _multiplied_steps(trainable_variables, factors):
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    def get_config(self):
        return {
            **super().get_config(),
            "rate_multipliers": self.rate_multipliers,
            "decay_multipliers": self.decay_multipliers,
        }


class multiplied:  # noqa: N801  (a context manager, used like a function)
    """Multiplies what a block of code adds to weights.

    Args:
        weights: list of tensors.
        factors: list of floats.
    """

    def __init__(self, weights, factors):
        self._weights, self._factors = weights, factors

    def __enter__(self):
        # The weights before and after are all that every optimizer has in common.
        self._before = [weight.clone() for weight in self._weights]

    @torch.no_grad()
    def __exit__(self, *error):
        if self._weights and error[0] is None:
            steps = torch._foreach_sub(self._weights, self._before)
            torch._foreach_mul_(steps, self._factors)
            torch._foreach_copy_(self._weights, self._before)
            torch._foreach_add_(self._weights, steps)


def _multiplied_steps(variables, factors):
    """`multiplied`, of variables."""
    changed = [(v, by) for v, by in zip(variables, factors, strict=True) if by != 1.0]
    return multiplied([v.value.detach() for v, _ in changed], [by for _, by in changed])


def _make(name):
    base = getattr(keras.optimizers, name)
    made = type(
        f"Layerwise{name}", (_Layerwise, base), {"keras_name": name, "__doc__": base.__doc__}
    )
    made.__module__ = __name__
    return keras.saving.register_keras_serializable(package="keras_dawn")(made)


CLASSES = {name: _make(name) for name in NAMES if hasattr(keras.optimizers, name)}


def keras_class_name(optimizer):
    """The name of the class of Keras's whose steps an optimizer takes, layerwise or not."""
    named = getattr(optimizer, "keras_name", None)
    return named or acting_class(type(optimizer)).__name__
