"""What has a state among all that the user's code holds: in attributes, closures, lists, dicts."""

import collections
import functools
import types

from keras_dawn.foundation.held_code import is_users_class, is_users_function
from keras_dawn.foundation.held_parts import is_iterator, is_left_alone, slots_of
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.foundation.keras_attributes import is_of_libraries
from keras_dawn.foundation.keras_optimizers import rate_is_called, schedule_of
from keras_dawn.resume.attribute_values import is_data
from keras_dawn.resume.held_variables import holder_of
from keras_dawn.resume.plain_attributes import Closure

import keras
import torch

_DEPTH = 4  # objects within objects
_MOST = 1000  # entries of a list or a dict that are looked at
_CONTAINERS = (list, tuple, dict, set, collections.deque)
_NAMESPACES = ("SimpleNamespace", "Namespace")  # Python's own, of what a user puts there
_WITHOUT = (type, types.ModuleType, types.BuiltinFunctionType, keras.KerasTensor, torch.Tensor)


class OwnObjects:
    """Walks from model and callbacks through what the user's code holds, and each thing once.

    Args:
        model: `keras.Model` in training.
        known: list of objects that are saved elsewhere, or are no part of the training.
        callback: callable that takes in a callback that was found, and its name.

    Attributes:
        found: dict of what has `state_dict` and `load_state_dict`, by name.
    """

    def __init__(self, model, known, callback):
        self.found = {}
        self._model, self._callback = model, callback
        self._known = known  # as their numbers are those of others once they are gone
        self._seen, self._taken = set(map(id, known)), set()

    def add(self, owner, name, attributes):
        """Takes in an object with `PlainAttributes`, and looks further in these."""
        if id(owner) not in self._taken:
            self._add(owner, name, attributes, 0)

    def visit(self, part, name, attributes, depth=0):
        """Takes in whatever has a state, under a name; whether all is seen that may change in it.

        Args:
            part: anything.
            name: str.
            attributes: `PlainAttributes` of what holds it.
            depth: int, how many objects hold each other.
        """
        if isinstance(part, types.MethodType):
            part = part.__self__
        if self.is_seen(part) or isinstance(part, _WITHOUT):
            return True
        kept = True
        if isinstance(part, keras.callbacks.Callback):
            self._callback(part, name)
            return True
        if isinstance(part, types.FunctionType):
            if is_users_function(part) and part.__closure__:
                self._add(part, name, Closure(part), depth)
            return True
        if holder := holder_of(part, name, self._model):
            self._put(f"state of {name}", holder, part)
            self.visit_rate(part, name, attributes)
        elif has_state(part):
            self._put(f"state of {name}", part, part)
            return True
        elif is_iterator(part):
            return False
        else:
            kept = is_of_libraries(type(part)) or is_left_alone(part) or is_data(part)
        if not is_users_object(part):
            return kept
        if depth < _DEPTH:
            self._add(part, name, attributes.like(part, name), depth)
        return depth < _DEPTH

    def visit_rate(self, part, name, attributes):
        """Takes in what an optimizer has its rate by, if it is a schedule or a function."""
        if isinstance(part, keras.optimizers.Optimizer) and rate_is_called(unwrap(part)):
            self.visit(schedule_of(unwrap(part)), f"{name}.learning_rate", attributes)

    def is_seen(self, part):
        """Whether a thing has been taken in, or need not be."""
        return id(part) in self._seen

    def _add(self, owner, name, attributes, depth):
        self._put(f"attributes of {name}", attributes, owner)
        for attribute, value in attributes.held().items():
            for number, part in enumerate(parts_of(value)):
                path = f"{name}.{attribute}" + (f"-{number + 1}" if part is not value else "")
                if not self.visit(part, path, attributes, depth + 1):
                    attributes.unseen.append(f"{attribute} ({type(part).__name__})")

    def _put(self, name, part, thing):
        self._seen.add(id(thing))
        self._taken.add(id(thing))
        place, number = name, 2
        while place in self.found:
            place, number = f"{name}-{number}", number + 1
        self.found[place] = part


def has_state(part):
    """Whether something has a state of its own to give."""
    both = hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
    return both and not isinstance(part, type)


def is_users_object(part):
    """Whether something is an object with attributes, of a class that the user has written."""
    kind = type(part)
    if kind.__name__ not in _NAMESPACES and not is_users_class(kind):
        return False
    return not isinstance(part, _CONTAINERS) and (hasattr(part, "__dict__") or bool(slots_of(part)))


def parts_of(value, depth=3):
    """A value, or what is in it if it is a short list, tuple or dict."""
    if isinstance(value, functools.partial):
        value = [value.func, *value.args, *value.keywords.values()]
    if not isinstance(value, _CONTAINERS) or not depth:
        return [value]
    parts = list(value.values() if isinstance(value, dict) else value)[:_MOST]
    return [each for part in parts for each in parts_of(part, depth - 1)][:_MOST]
