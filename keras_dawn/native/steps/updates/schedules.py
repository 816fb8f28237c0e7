"""Keras's schedule objects, evaluated on the device at the price of a few numbers."""

import math

from keras_dawn.foundation import keras_optimizers, keras_variables
from keras_dawn.native.steps.unchanged import Unchanged

import keras
import torch
from keras.optimizers import schedules


class ScheduledRate:
    """The learning rate of an optimizer whose rate is one of Keras's own schedule objects.

    The same operations on the same numbers as in Keras, so that no bit differs; spared are Keras's
    own casts, and copying each setting to the device in every step. Settings that are changed
    count from the next step on.

    Args:
        optimizer: built Keras optimizer.
    """

    def __init__(self, optimizer):
        self._optimizer = optimizer
        self._settings = self._constants = None
        self._all_constants = {}  # kept: a CUDA graph goes on reading those of its settings
        self._around = self._unchanged = None  # what the last answer holds for
        self._answer = False

    def __call__(self):
        """A 0-d tensor, or `None` for what only Keras or its author can evaluate."""
        if not self.is_known():
            return None
        return self._constants(self._step())

    def is_asked(self):
        """Whether Python of somebody's own gives the rate, maybe another one each time."""
        kept = keras_optimizers.schedule_of(self._optimizer)
        return not isinstance(kept, keras.Variable) and not self.is_known()

    def is_known(self):
        """Whether the rate can be evaluated here; settings that were changed are taken up."""
        schedule = keras_optimizers.schedule_of(self._optimizer)
        if type(schedule) not in _FORMS:
            return False
        step = self._step()
        around = schedule, keras.config.floatx(), step.device
        if around != self._around:
            self._around, self._unchanged = around, Unchanged(schedule)
        if not self._unchanged() or type(schedule) is schedules.PiecewiseConstantDecay:
            self._answer = self._has_form(schedule, step)  # lists may be changed inside
        return self._answer

    def _step(self):
        return keras_variables.memory_of(keras_optimizers.iterations(self._optimizer))

    def _has_form(self, schedule, step):
        formula, names = _FORMS[type(schedule)]
        config = schedule.get_config()
        settings = [config[name] for name in names]
        # Copies of the settings: who changes a list in place is noticed too.
        known = [type(schedule), keras.config.floatx(), step.device, *settings]
        if known != self._settings:
            if not all(map(_is_plain, settings)) or not isinstance(_first(settings[0]), float):
                return False
            self._settings = [*known[:3], *map(_copied, settings)]
            name = repr(self._settings)
            if name not in self._all_constants:
                self._all_constants[name] = formula(_Constants(*known[1:3]), *settings)
            self._constants = self._all_constants[name]
        return self._constants is not None


class _Constants:
    """Makes tensors of the dtype that a schedule computes in, on the counter's device."""

    def __init__(self, dtype, device):
        self.dtype, self._device = getattr(torch, dtype), device

    def __call__(self, *numbers, dtype=None):
        kind = dtype or self.dtype
        tensors = [torch.tensor(number, dtype=kind, device=self._device) for number in numbers]
        return tensors if len(tensors) > 1 else tensors[0]


def _is_plain(setting):
    if isinstance(setting, (list, tuple)):
        return all(map(_is_plain, setting))
    return setting is None or type(setting) in (int, float, bool)


def _first(setting):
    return setting[0] if isinstance(setting, (list, tuple)) and setting else setting


def _copied(setting):
    return type(setting)(setting) if isinstance(setting, (list, tuple)) else setting


def _decays(constants, initial, steps, decay, staircase):
    initial, steps, decay = constants(initial, steps, decay)

    def passed(step):
        part = step.to(constants.dtype) / steps
        return part.floor() if staircase else part

    return initial, decay, passed


def _exponential(*settings):
    initial, decay, passed = _decays(*settings)
    return lambda step: initial * torch.pow(decay, passed(step))


def _inverse_time(*settings):
    initial, decay, passed = _decays(*settings)
    return lambda step: initial / (decay * passed(step) + 1)


def _piecewise(constants, values, boundaries):
    """Keras sums the values up, each times whether it is its turn."""
    if not boundaries or list(boundaries) != sorted(boundaries):
        return None
    boundaries = constants(list(map(int, boundaries)), dtype=torch.int64)
    values = constants(list(values))
    return lambda step: values.take((step > boundaries).sum())  # how many it has passed


def _polynomial(constants, initial, end, steps, power, cycle):
    fall = constants(initial) - constants(end)
    end, power, length = constants(end, power, steps)

    def rate(step):
        step, whole = step.to(constants.dtype), length
        if cycle:
            whole = length * torch.where(step == 0, 1.0, torch.ceil(step / steps))
        else:
            step = torch.minimum(step, length)
        return fall * torch.pow(1 - step / whole, power) + end

    return rate


def _cosine(constants, initial, steps, alpha, warmup_target, warmup_steps):
    initial, steps, pi = constants(initial, steps, math.pi)

    def decayed(step, highest):
        return highest * ((1 - alpha) * (0.5 * (1.0 + torch.cos(pi * (step / steps)))) + alpha)

    if warmup_target is None:
        return lambda step: decayed(torch.minimum(step.to(constants.dtype), steps), initial)
    target, warm_up = constants(warmup_target, warmup_steps)
    rise, end = target - initial, steps + warm_up

    def rate(step):
        step = torch.minimum(step.to(constants.dtype), end)
        rising = rise * (step / warm_up) + initial
        return torch.where(step < warm_up, rising, decayed(step - warm_up, target))

    return rate


def _restarts(constants, initial, steps, alpha, longer, lower):
    initial, steps, alpha, lower, pi = constants(initial, steps, alpha, lower, math.pi)
    longer = constants(longer)
    alike, growth, shrunk = bool(longer == 1.0), longer.log(), 1.0 - longer

    def rate(step):
        part = step.to(constants.dtype) / steps
        if alike:
            restarts = part.floor()
            part = part - restarts
        else:
            restarts = torch.floor(torch.log(1.0 - part * shrunk) / growth)
            power = torch.pow(longer, restarts)
            part = (part - (1.0 - power) / shrunk) / power
        height = 0.5 * torch.pow(lower, restarts) * (1.0 + torch.cos(pi * part))
        return initial * ((1 - alpha) * height + alpha)

    return rate


_DECAY = ("initial_learning_rate", "decay_steps", "decay_rate", "staircase")
_FORMS = {
    schedules.ExponentialDecay: (_exponential, _DECAY),
    schedules.InverseTimeDecay: (_inverse_time, _DECAY),
    schedules.PiecewiseConstantDecay: (_piecewise, ("values", "boundaries")),
    schedules.PolynomialDecay: (
        _polynomial,
        ("initial_learning_rate", "end_learning_rate", "decay_steps", "power", "cycle"),
    ),
    schedules.CosineDecay: (
        _cosine,
        ("initial_learning_rate", "decay_steps", "alpha", "warmup_target", "warmup_steps"),
    ),
    schedules.CosineDecayRestarts: (
        _restarts,
        ("initial_learning_rate", "first_decay_steps", "alpha", "t_mul", "m_mul"),
    ),
}
