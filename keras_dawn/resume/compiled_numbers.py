"""Which numbers that an optimizer is compiled with otherwise than before a training takes up."""

from keras_dawn.foundation import hyperparameters
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.schedules.parameter_schedule import ParameterSchedule

import keras

_RATE = "learning_rate"


class CompiledNumbers:
    """Hyper-parameters of a restart that were compiled otherwise than in the process before.

    They count from now on, except for a rate that a callback sets: the next epoch of a
    `LearningRateScheduler` would set it back, the next step of a `OneCycle` that has a `max_lr`
    too, and a reduction that `ReduceLROnPlateau` has made would be lost. There the rate in force
    goes on.

    Args:
        rates: list of `(optimizer's number, name, old, new)`, as `check_same` returns it.
        model: `keras.Model`, with the numbers of the checkpoint in its optimizers.
        callbacks: list of the callbacks beside `ResumeTraining`.
        settings: dict, what `described_settings.settings` returned in this process.

    Attributes:
        taken_up: list of str, what counts from now on.
        kept: list of `(optimizer's number, name, old)` of those that do not.
        said_of_kept: list of str, a line about each.
    """

    def __init__(self, rates, model, callbacks, settings):
        self.taken_up, self.kept, self.said_of_kept, self._new = [], [], [], []
        for number, name, old, new in rates:
            optimizer = optimizers_of(model)[number]
            in_force = None if old is None else hyperparameters.read(optimizer, name)
            if old is not None and in_force == new:
                continue
            setter = None
            if name == _RATE and optimizer is model.optimizer:
                setter = _setter(callbacks, settings, moved=in_force != old)
            change = in_words(name, old, new)
            if setter is not None:
                self.kept.append((number, name, old))
                self.said_of_kept.append(
                    f"{change} as compiled is not taken up: {setter} sets the {name}, which goes "
                    f"on from {_short(in_force)}; for the compiled one leave {setter} out"
                )
                continue
            moved = f" ({_short(in_force)} was in force)" if in_force != old else ""
            self.taken_up.append(change + moved)
            self._new.append((optimizer, name, new))

    def write(self):
        """Puts those that are taken up into the optimizers, over what a checkpoint put there."""
        for optimizer, name, new in self._new:
            hyperparameters.write(optimizer, name, new)


def in_words(name, old, new):
    """A hyper-parameter that was compiled otherwise.

    Example:
        >>> in_words("learning_rate", 0.10000000149, 0.5)
        'learning_rate 0.1 → 0.5'
    """
    return f"{name} {_short(old)} → {_short(new)}"


def _setter(callbacks, settings, moved):
    """The name of the callback that sets the rate of the model's optimizer, `None` of none."""
    for one in callbacks:
        name = type(one).__name__
        schedule = isinstance(one, ParameterSchedule) and f"{_RATE} by {name}" in settings
        # One of some epochs leaves the rate of the others alone; without `max_lr` it is compiled.
        schedule = schedule and one.epochs is None and getattr(one, "max_lr", 0) is not None
        plateau = moved and isinstance(one, keras.callbacks.ReduceLROnPlateau)
        if schedule or plateau or isinstance(one, keras.callbacks.LearningRateScheduler):
            return name
    return None


def _short(number):
    """A hyper-parameter for reading: without the digits that float32 adds to it."""
    return f"{number:.6g}" if isinstance(number, float) else str(number)
