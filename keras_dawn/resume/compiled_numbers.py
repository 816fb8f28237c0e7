"""Which numbers that an optimizer is compiled with otherwise than before a training takes up."""

import weakref

from keras_dawn.foundation import hyperparameters
from keras_dawn.foundation.keras_optimizers import inner_optimizers
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.schedules.parameter_schedule import ParameterSchedule
from keras_dawn.schedules.under_way import scheduled

import keras

_RATE = "learning_rate"
_LEFT = weakref.WeakKeyDictionary()  # optimizers of trainings that were left, with their numbers


def numbers_of(optimizer):
    """The hyper-parameters of an optimizer as they are, by name."""
    inner = hyperparameters.unwrap(optimizer)
    values = {name: getattr(inner, name) for name in hyperparameters.available(inner)}
    return {name: None if value is None else float(value) for name, value in values.items()}


def numbered(model):
    """The optimizers whose numbers are compared: `optimizers_of`, then those within one of them."""
    outer = optimizers_of(model)
    inner = [each for one in outer for each in inner_optimizers(hyperparameters.unwrap(one))]
    return [*outer, *inner]


def leave_numbers(model):
    """Notes that a training ends here, to go on: numbers that differ after this are the script's.

    Those that a schedule sets, it sets back.

    Args:
        model: `keras.Model` in training.
    """
    for optimizer in numbered(model):
        its = scheduled(optimizer)
        numbers = numbers_of(optimizer).items()
        _LEFT[optimizer] = {name: value for name, value in numbers if name not in its}


def numbers_set_since(model):
    """What somebody has set since `leave_numbers`, such as a lower rate in a notebook; asked once.

    Returns:
        list of `(optimizer's number, name, old, new)`.
    """
    found = []
    for number, optimizer in enumerate(numbered(model)):
        left = _LEFT.pop(optimizer, None)
        now = numbers_of(optimizer) if left else {}
        pairs = [(name, left[name], new) for name, new in now.items() if name in left]
        found += [(number, *pair) for pair in pairs if pair[1] != pair[2]]
    return found


class CompiledNumbers:
    """Hyper-parameters of a restart that were compiled otherwise than in the process before.

    They count from now on, except for one that a callback sets: the next epoch of a
    `LearningRateScheduler` would set a rate back, the next step of a `OneCycle` that has a `max_lr`
    too, and its momentum, and a reduction that `ReduceLROnPlateau` has made would be lost. There
    the value in force goes on.

    Args:
        rates: list of `(optimizer's number, name, old, new)`, as `check_same` returns it; the
            numbers are those in `numbered`.
        model: `keras.Model`, with the numbers of the checkpoint in its optimizers.
        callbacks: list of the callbacks beside `ResumeTraining`.
        settings: dict, what `described_settings.settings` returned in this process.
        since: list, what `numbers_set_since` returned.

    Attributes:
        taken_up: list of str, what counts from now on.
        kept: list of `(optimizer's number, name, old)` of those that do not.
        said_of_kept: list of str, a line about each.
    """

    def __init__(self, rates, model, callbacks, settings, since=()):
        self.taken_up, self.kept, self.said_of_kept, self._new = [], [], [], []
        for number, name, old, new in [*rates, *since]:
            optimizer = numbered(model)[number]
            in_force = None if old is None else hyperparameters.read(optimizer, name)
            if old is not None and in_force == new:
                continue
            how = "set" if (number, name, old, new) in since else "compiled"
            setter = None
            own = [model.optimizer, *inner_optimizers(hyperparameters.unwrap(model.optimizer))]
            if any(optimizer is one for one in own):
                setter = _setter(name, callbacks, settings, moved=in_force != old)
            change = in_words(name, old, new)
            if setter is not None:
                if how == "compiled":
                    self.kept.append((number, name, old))
                self.said_of_kept.append(
                    f"{change} as {how} is not taken up: {setter} sets the {name}, which goes "
                    f"on from {_short(in_force)}; for the {how} one leave {setter} out"
                )
                continue
            moved = f" ({_short(in_force)} was in force)" if in_force != old else ""
            self.taken_up.append(change + moved)
            self._new.append((optimizer, name, new))

    def describe(self, then, now):
        """Completes what a description has of all optimizers' numbers, `now`, by that before.

        What was compiled counts: the next process is asked about it again.
        """
        for number, name, old in self.kept:
            now[number][name] = old
        for number, numbers in enumerate(now):
            if not numbers and number < len(then):  # of a model that was trained already
                now[number] = then[number]

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


def _setter(name, callbacks, settings, moved):
    """The class of the callback that sets a number of the model's optimizer, `None` of none."""
    names = {name, "momentum"} if name == "beta_1" else {name}
    for one in callbacks:
        kind = type(one).__name__
        schedule = isinstance(one, ParameterSchedule) and any(f"{n} by {kind}" in settings
                                                              for n in names)  # fmt: skip
        # Without `max_lr` it goes by the compiled rate.
        compiled = name == _RATE and getattr(one, "max_lr", 0) is None
        plateau = moved and isinstance(one, keras.callbacks.ReduceLROnPlateau)
        rate = plateau or isinstance(one, keras.callbacks.LearningRateScheduler)
        # One of some epochs leaves the number of the others alone.
        if (schedule and one.epochs is None and not compiled) or (rate and name == _RATE):
            return kind
    return None


def _short(number):
    """A hyper-parameter for reading: without the digits that float32 adds to it."""
    return f"{number:.6g}" if isinstance(number, float) else str(number)
