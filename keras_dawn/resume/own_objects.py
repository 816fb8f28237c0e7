"""What has a state among all that the user's code holds: in attributes, closures, lists, dicts."""

import collections
import enum
import functools
import types

from keras_dawn.foundation.held_code import functions_of, names_of
from keras_dawn.foundation.held_parts import is_iterator, is_left_alone, slots_of
from keras_dawn.foundation.held_states import has_state
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.foundation.keras_attributes import is_of_libraries
from keras_dawn.foundation.keras_optimizers import rate_is_called, schedule_of
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.foundation.users_code import is_users_class, is_users_function
from keras_dawn.resume.attribute_values import is_data
from keras_dawn.resume.held_variables import DATA, HeldOptimizer, holder_of
from keras_dawn.resume.names import free_name
from keras_dawn.resume.plain_attributes import NamesOfClass, NamesOfFunction

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
        self._names = set()  # of modules, that functions use

    def add(self, owner, name, attributes):
        """Takes in an object with `PlainAttributes`, and looks further in these."""
        if id(owner) not in self._taken:
            self._add(owner, name, attributes, 0)

    def visit(self, part, name, attributes, depth=0, attribute=None):
        """Takes in whatever has a state, under a name; whether all is seen that may change in it.

        Args:
            part: anything.
            name: str.
            attributes: `PlainAttributes` of what holds it.
            depth: int, how many objects hold each other.
            attribute: str, in which of them, if it is to be seen whether it is replaced.
        """
        part = _object_of(part)
        if self.is_seen(part):
            return True
        if isinstance(part, type):  # one that the user's code names, such as for its settings
            self._add_classes(part, depth + 1)
        if isinstance(part, _WITHOUT):
            return True
        kept = True
        if isinstance(part, keras.callbacks.Callback):
            self._callback(part, name)
            return True
        if isinstance(part, types.FunctionType):
            self._add_function(part, name, depth)
            return True
        if holder := holder_of(part, name, self._model):
            self._put(f"state of {name}", holder, part)
            self.visit_rate(part, name, attributes)
            if isinstance(part, keras.Model):
                self._add_optimizers(part, name)
        elif has_state(part):
            self._put(f"state of {name}", part, part)
            return True
        elif is_iterator(part) or isinstance(part, DATA):
            return False
        else:
            kept = is_of_libraries(type(part)) or is_left_alone(part) or is_data(part)
        if not is_users_object(part):
            return kept
        if depth >= _DEPTH:
            return False
        inner = attributes.like(part, name)
        if attribute is not None:
            inner.is_held = functools.partial(_holds, attributes, attribute, part)
        self._add(part, name, inner, depth)
        return True

    def visit_rate(self, part, name, attributes):
        """Takes in what an optimizer has its rate by, if it is a schedule or a function."""
        if isinstance(part, keras.optimizers.Optimizer) and rate_is_called(unwrap(part)):
            self.visit(schedule_of(unwrap(part)), f"{name}.learning_rate", attributes)

    def _add_optimizers(self, model, name):
        for optimizer in optimizers_of(model):
            if not self.is_seen(optimizer):
                where = f"{name}.{type(optimizer).__name__}"
                self._put(f"state of {where}", HeldOptimizer(optimizer, where, model), optimizer)

    def is_seen(self, part):
        """Whether a thing has been taken in, or need not be."""
        return id(part) in self._seen

    def _add(self, owner, name, attributes, depth):
        self._put(f"attributes of {name}", attributes, owner)
        for attribute, value in attributes.held().items():
            parts = parts_of(value)
            for number, part in enumerate(parts):
                path = f"{name}.{attribute}" + (f"-{number + 1}" if part is not value else "")
                if not self.visit(part, path, attributes, depth + 1, attribute):
                    attributes.unseen.append(f"{attribute} ({type(part).__name__})")
            if len(parts) == _MOST and not is_data(value):
                attributes.unseen.append(f"{attribute} (more than {_MOST} parts)")
        self._add_classes(type(owner), depth)

    def _add_classes(self, kind, depth):
        for each in kind.__mro__:
            if id(each) not in self._seen and is_users_class(each) and depth < _DEPTH:
                self._add_class(each, depth)

    def _add_class(self, kind, depth):
        self._add(kind, f"class {kind.__name__}", NamesOfClass(kind), depth)
        for function in functions_of(kind):
            self._add_function(function, f"{kind.__name__}.{function.__name__}", depth)

    def _add_function(self, function, name, depth):
        if id(function) in self._seen or not is_users_function(function) or depth >= _DEPTH:
            return
        # What several functions of a module use is kept once.
        places = {(id(function.__globals__), name): name for name in names_of(function)}
        fresh = [used for place, used in places.items() if place not in self._names]
        self._names.update(places)
        self._seen.add(id(function))
        if fresh or function.__closure__:
            self._add(function, name, NamesOfFunction(function, fresh), depth)

    def _put(self, name, part, thing):
        self._seen.add(id(thing))
        self._taken.add(id(thing))
        self.keep(name, part)

    def keep(self, name, part):
        """Puts something with a state under a name, or the like of it if that is taken."""
        self.found[free_name(name, self.found)] = part


def is_users_object(part):
    """Whether something is an object with attributes, of a class that the user has written."""
    kind = type(part)
    if kind.__name__ not in _NAMESPACES and not is_users_class(kind):
        return False
    has_attributes = hasattr(part, "__dict__") or bool(slots_of(part))
    return has_attributes and not isinstance(part, (*_CONTAINERS, enum.Enum))


def _holds(attributes, name, part):
    """Whether what was found in an attribute is there still."""
    held = map(_object_of, parts_of(attributes.held().get(name)))
    return any(each is part for each in held)


def _object_of(part):
    return part.__self__ if isinstance(part, types.MethodType) else part


def parts_of(value, depth=6):
    """A value, or what is in it if it is a short list, tuple or dict."""
    if isinstance(value, functools.partial):
        value = [value.func, *value.args, *value.keywords.values()]
    if not isinstance(value, _CONTAINERS) or not depth:
        return [value]
    parts = list(value.values() if isinstance(value, dict) else value)[:_MOST]
    return [each for part in parts for each in parts_of(part, depth - 1)][:_MOST]
