"""What the user's own code keeps in attributes of model, layers, losses and metrics."""

import types

from keras_dawn.foundation.held_states import has_state
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.foundation.keras_attributes import is_of_libraries
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.keras_losses import compiled_loss
from keras_dawn.foundation.keras_metrics import metrics_given
from keras_dawn.foundation.keras_variables import hooks_on_gradient
from keras_dawn.foundation.model_state import optimizer_variables, optimizers_of
from keras_dawn.foundation.random_state import generator_state
from keras_dawn.resume.attribute_values import encoded, is_data
from keras_dawn.resume.keras_settings import add_settings
from keras_dawn.resume.names import name_of_part, unnumbered
from keras_dawn.resume.own_objects import is_users_object, parts_of
from keras_dawn.resume.plain_attributes import PlainAttributes

import keras
import numpy as np
import torch

_FUNCTIONS = (types.FunctionType, types.MethodType, types.BuiltinFunctionType, type)
_NO_STATE = (*_FUNCTIONS, types.ModuleType, torch.nn.Module, keras.Variable, keras.KerasTensor)
_HELD_BY_LAYERS = (types.FunctionType, types.MethodType, keras.Variable)
_VALUES = (np.ndarray, np.generic, list, tuple, dict, set)


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
        super().__init__(owner)

    def like(self, part, name):
        return ModelAttributes(part, name)

    def attributes(self):
        return {name: value for name, value in self.held().items() if not _has_no_state(value)}

    def rank_state_dict(self):
        """What has changed and is data, on this rank."""
        if not self.is_held():
            return {}
        changed = {name: value for name, value in self._changed().items() if is_data(value)}
        return {
            "kept": {name: encoded(value) for name, value in changed.items()},
            "first": dict.fromkeys(changed),
            **self._of_gone(),
        }

    def state_dict(self):
        """What has changed and cannot be kept, by name.

        Raises:
            ValueError: something with a `state_dict` of its own that came up in the training: the
                next process would not have it when its state is put back.
        """
        for name, value in self._changed().items():
            if kept := list(filter(_tells, parts_of(value))):
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


def saved_with(model):
    """What is saved as the model's own, or looked at by `add_attributes`: list of objects."""
    optimizers = optimizers_of(model)
    variables = [*model.variables, *optimizer_variables(model)]
    parts = [*all_layers(model), *optimizers, *map(unwrap, optimizers), *model.metrics]
    return [*parts, *_metrics(model), *variables]


def add_attributes(model, objects):
    """Takes in what is kept in attributes of a model, of its layers, losses and metrics.

    Args:
        model: compiled `keras.Model`, when its training has begun.
        objects: `OwnObjects`; what it finds further are objects of the user's classes in these
            attributes, and what has a state of its own, such as an optimizer of torch's.
    """
    own = ModelAttributes(model, "model")
    objects.add(model, "model", own)
    layers = list(all_layers(model))[1:]
    modules = [
        (f"module in {layer.name}.{name}", module)
        for layer in layers
        if isinstance(layer, keras.layers.TorchModuleWrapper)
        for name, module in layer.module.named_modules()
    ]
    for kind, parts in (
        ("layer", layers),
        ("loss", parts_of(compiled_loss(model)[0])),
        ("metric", [*_metrics(model), *metrics_given(model)]),
        ("optimizer", optimizers_of(model)),
    ):
        for part in parts:
            _add(part, name_of_part(kind, part), objects, own)
    for name, module in modules:
        _add(module, name, objects, own)
    add_settings(model, parts_of(compiled_loss(model)[0]), _metrics(model), objects)
    for layer in layers:  # what Keras's own hold beside their weights, such as a recurrent state
        for attribute, value in vars(layer).items():
            for part in parts_of(value):
                if isinstance(part, _HELD_BY_LAYERS) or is_users_object(part):
                    objects.visit(part, f"{unnumbered(f'layer {layer.name}')}.{attribute}", own)
    for variable in model.variables:
        for hook in hooks_on_gradient(variable):
            objects.visit(hook, f"hook of {unnumbered(variable.path)}", own)


def _add(part, name, objects, own):
    name = unnumbered(name)
    if isinstance(part, _FUNCTIONS):
        objects.visit(part, name, own)
    elif not is_of_libraries(type(part)) and hasattr(part, "__dict__"):
        objects.add(part, name, ModelAttributes(part, name))
    objects.visit_rate(part, name, own)


def _metrics(model):
    return [inner for each in model.metrics for inner in getattr(each, "metrics", [each])]


def _tells(value):
    """Whether something tells its state, and is not saved with the model."""
    return has_state(value) and not isinstance(value, _NO_STATE)


def _has_no_state(value):
    """Functions, classes, and what is among the model's variables and layers."""
    if isinstance(value, torch.Tensor):
        return value.is_meta
    if is_of_libraries(type(value)) and not isinstance(value, _VALUES):
        return not _tells(value) and generator_state(value) is None
    return (
        isinstance(value, _NO_STATE)
        or (isinstance(value, (list, tuple)) and bool(value) and all(map(_has_no_state, value)))
        or (isinstance(value, dict) and bool(value) and all(map(_has_no_state, value.values())))
    )
