"""What the user's own code keeps in attributes of model, layers, losses and metrics."""

import re
import sys
import types

from keras_dawn.foundation.keras_attributes import is_of_libraries, own_attributes
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.keras_losses import compiled_loss
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.foundation.random_state import generator_state
from keras_dawn.resume.attribute_values import encoded, is_data
from keras_dawn.resume.plain_attributes import PlainAttributes

import keras
import numpy as np
import torch

_DEPTH = 4  # objects within objects
_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)
_NO_STATE = (*_FUNCTIONS, types.ModuleType, torch.nn.Module, keras.Variable, keras.KerasTensor)
_VALUES = (np.ndarray, np.generic, list, tuple, dict, set)
_NUMBER = re.compile(r"_\d+$")


class ModelAttributes(PlainAttributes):
    """`state_dict` and `load_state_dict` for the attributes of a layer, loss, metric, or the like.

    Kept are those that `PlainAttributes` would keep, each for itself: a count, a list of tensors,
    a random generator. Of others that changed it is said, when training goes on, that they begin
    anew.

    Args:
        owner: object whose attributes these are.
        name: str, for messages.
    """

    def __init__(self, owner, name):
        self._name = name
        super().__init__(owner, ignored=())

    def rank_state_dict(self):
        """What has changed and is data, on this rank."""
        changed = {name: value for name, value in self._changed().items() if is_data(value)}
        return {
            "kept": {name: encoded(value) for name, value in changed.items()},
            "first": dict.fromkeys(changed),
        }

    def state_dict(self):
        """What has changed and cannot be kept, by name.

        Raises:
            ValueError: something with a `state_dict` of its own that came up in the training: the
                next process would not have it when its state is put back.
        """
        for name, value in self._changed().items():
            if kept := [part for part in _parts(value) if has_state(part)]:
                raise ValueError(
                    f"{self._name}.{name} holds a {type(kept[0]).__name__} that was made after the "
                    "training had begun, so a checkpoint's state could not be put back into it. "
                    "Make it before `fit`, such as in `__init__` or `compile`."
                )
        return super().state_dict()

    def load_state_dict(self, state):
        super().load_state_dict(state)
        if "kept" in state:
            self.lost = state["lost"]

    def _first_mark(self, name):
        return None  # goes on whatever it began as: the seed of a generator may be another

    def _attributes(self):
        own = own_attributes(self.callback)
        return {name: value for name, value in own.items() if not _has_no_state(value)}


def attributes_of(model):
    """What has `state_dict()` and `load_state_dict(state)` for a model's own attributes, by name.

    Args:
        model: compiled `keras.Model`, when its training has begun.

    Returns:
        dict: `ModelAttributes` of the model, of layers, losses and metrics of the user's, and of
        objects of the user's classes in their attributes; and what in these has a state of its
        own, such as an optimizer of torch's.
    """
    found, seen = {}, set()
    _look(model, "model", found, seen, 0)
    for kind, parts in (
        ("layer", all_layers(model)),
        ("loss", _parts(compiled_loss(model)[0])),
        ("metric", [inner for each in model.metrics for inner in getattr(each, "metrics", [each])]),
        ("optimizer", optimizers_of(model)),
    ):
        for part in parts:
            user, function = not is_of_libraries(type(part)), isinstance(part, _FUNCTIONS)
            if user and not function and hasattr(part, "__dict__"):
                # Keras numbers the names of a process through.
                own = _NUMBER.sub("", getattr(part, "name", None) or type(part).__name__)
                _look(part, f"{kind} {own}", found, seen, 0)
    return found


def has_state(part):
    """Whether something has a state of its own to give, and is none of Keras's or its weights."""
    has = hasattr(part, "state_dict") and hasattr(part, "load_state_dict")
    return has and not isinstance(part, _NO_STATE)


def _look(owner, name, found, seen, depth):
    if id(owner) in seen:
        return
    seen.add(id(owner))
    place, number = f"attributes of {name}", 2
    while place in found:
        place, number = f"attributes of {name}-{number}", number + 1
    found[place] = ModelAttributes(owner, name)
    for attribute, value in own_attributes(owner).items():
        for number, part in enumerate(_parts(value)):
            path = f"{name}.{attribute}" + (f"-{number + 1}" if part is not value else "")
            if has_state(part):
                if id(part) not in seen:
                    seen.add(id(part))
                    found[f"state of {path}"] = part
            elif depth < _DEPTH and _is_of_the_user(part):
                _look(part, path, found, seen, depth + 1)


def _is_of_the_user(part):
    kind = type(part)
    if is_of_libraries(kind) or kind.__module__.partition(".")[0] in sys.stdlib_module_names:
        return False
    plain = hasattr(part, "__dict__") and not isinstance(part, (list, tuple, dict, set))
    return plain and not _has_no_state(part) and generator_state(part) is None


def _has_no_state(value):
    """Functions, classes, and what is among the model's variables and layers."""
    if isinstance(value, torch.Tensor):
        return value.is_meta
    if is_of_libraries(type(value)) and not isinstance(value, _VALUES):
        return not has_state(value) and generator_state(value) is None
    return (
        isinstance(value, _NO_STATE)
        or (isinstance(value, (list, tuple)) and bool(value) and all(map(_has_no_state, value)))
        or (isinstance(value, dict) and bool(value) and all(map(_has_no_state, value.values())))
    )


def _parts(value):
    """A value, or what is in it if it is a short list, tuple or dict."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return list(value)[:1000]
    return [value]
