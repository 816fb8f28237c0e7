"""Which callback of a script is which of the one before, and which are new or left out."""

import os

from keras_dawn.foundation.keras_callbacks import settings_of

import keras

_PLAIN = (bool, int, float, str, type(None))
_PREFIXES = ("attributes of ", "state of ")
_OF_FIT = (keras.callbacks.History, keras.callbacks.ProgbarLogger)  # which nobody gives it
_OF_PACKAGE = tuple(f"keras_dawn.{room}." for room in ("native", "distributed", "plans", "resume"))
_GIVEN, _ADDED, _WHOLE = "given", "added", "whole"


def describe_callbacks(names):
    """`{name: [class, settings, sort]}` of callbacks by their names.

    Settings are attributes that are called as arguments of `__init__` are, as far as they are
    plain: `monitor`, `filepath`. The sort is `"added"` of one that `fit` adds by itself, `"whole"`
    of one that has to see the training from its beginning (`sees_whole_training`), else `"given"`.
    """
    return {name: [type(one).__name__, _plain(one), _sort(one)] for name, one in names.items()}


class SameCallbacks:
    """Finds for each callback the one in the checkpoint whose state is to be put back into it.

    Of one class, those belong together that have the most settings in common, in their order where
    these are as many; never such as monitor another metric.

    Args:
        then, now: what `describe_callbacks` returned, in the first process and in this one.
    """

    def __init__(self, then, now):
        self._then, self._now = then, now
        self._names = {}  # of the checkpoint's, those that they have now
        pairs = [
            (-_likeness(old[1], new[1]), place, number, before, name)
            for place, (before, old) in enumerate(then.items())
            for number, (name, new) in enumerate(now.items())
            if old[0] == new[0] and old[1].get("monitor") == new[1].get("monitor")
        ]
        for *_, before, name in sorted(pairs):
            if before not in self._names and name not in self._names.values():
                self._names[before] = name

    @property
    def new(self):
        """Callbacks that the checkpoint does not have, in words."""
        new = [name for name in self._now if name not in self._names.values()]
        return self._told(new, self._now)

    @property
    def left_out(self):
        """Callbacks that there are no more, in words."""
        return self._told([name for name in self._then if name not in self._names], self._then)

    def renamed(self, parts):
        """A checkpoint's states, each under the name that its callback has now."""
        return {self.name_now(name): state for name, state in parts.items()}

    def is_new(self, part):
        """Whether a part is of a callback that the checkpoint does not have."""
        whose = _whose(part)
        return whose in self._now and whose not in self._names.values()

    def may_begin_now(self, part):
        """Whether it is of a new one that need not have seen the training so far."""
        return self.is_new(part) and self._now[_whose(part)][2] != _WHOLE

    def is_of_none(self, part):
        """Whether a part of the checkpoint is of no callback."""
        return _whose(part) not in self._then

    def in_words(self, part):
        """A part's name, with what tells it from others of its class."""
        whose = _whose(part)
        return f"{part}{_words(self._now[whose])}" if self.is_new(part) else part

    def name_now(self, name):
        """The name of a part, or of a setting, of the checkpoint's callbacks in this process."""
        whose = _whose(name)
        if whose not in self._then:
            return name
        now = self._names.get(whose, whose)
        if now == whose and self.is_new(name):  # it must not be taken for another of its class
            now = f"{whose}{_words(self._then[whose]) or ' as it was'}"
        start = len(name) - len(name.removeprefix(_prefix(name)))
        return name[:start] + now + name[start + len(whose) :]

    @staticmethod
    def _told(names, callbacks):
        # In a checkpoint of an earlier version there is no sort.
        given = [name for name in names if callbacks[name][2:] != [_ADDED]]
        return [f"{name}{_words(callbacks[name])}" for name in given]


def _plain(callback):
    found = {}
    for name, value in settings_of(callback).items():
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if type(value) in _PLAIN and value is not None:
            found[name] = value
    return found


def is_given(callback):
    """Whether a callback is one that `fit` was given, and not one that it adds by itself."""
    within = type(callback).__module__.startswith(_OF_PACKAGE)
    return not (within or isinstance(callback, _OF_FIT))


def _sort(callback):
    if getattr(callback, "sees_whole_training", False):
        return _WHOLE
    return _GIVEN if is_given(callback) else _ADDED


def _likeness(old, new):
    """How many settings two have in common; files count by their names, in whichever folder."""
    likeness = 0
    for name in old.keys() & new.keys():
        values = old[name], new[name]
        if all(isinstance(value, str) for value in values) and len(set(values)) == 2:
            likeness += 0.5 * (len(set(map(os.path.basename, values))) == 1)
        else:
            likeness += values[0] == values[1]
    return likeness


def _words(callback):
    monitor = callback[1].get("monitor")
    return "" if monitor is None else f" on {monitor}"


def _prefix(part):
    return next((prefix for prefix in _PREFIXES if part.startswith(prefix)), "")


def _whose(part):
    """The name of the callback that a part is of, if it is one's."""
    return part.removeprefix(_prefix(part)).partition(".")[0]
