"""Settings of Keras's own objects that training may move: a rate of dropout, an activation."""

import functools
import inspect

from keras_dawn.foundation.hyperparameters import available, unwrap
from keras_dawn.foundation.keras_attributes import is_of_libraries
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.resume.attribute_values import encoded, is_data, size
from keras_dawn.resume.names import unnumbered
from keras_dawn.resume.plain_attributes import PlainAttributes

import keras
import torch

_MOST = 1000  # values in one setting
_OBJECTS = (keras.Layer, keras.metrics.Metric, keras.Variable, torch.Tensor, torch.nn.Module)
_OF_LAYERS = (keras.regularizers.Regularizer, keras.constraints.Constraint)


class KerasSettings(PlainAttributes):
    """`PlainAttributes` of what a class of Keras's takes in `__init__` and keeps.

    Numbers, names, ranges and switches, `None` among them, are kept each for itself. Where a
    function or an object, such as an activation, was replaced by another, it is said that it
    begins anew.

    Args:
        owner: layer, regularizer, constraint, loss, metric or optimizer.
    """

    def held(self):
        own = vars(self.owner)
        # Numbers of an optimizer are saved with it.
        elsewhere = ()
        if isinstance(self.owner, keras.optimizers.Optimizer):
            elsewhere = available(self.owner)
        return {
            name: own[name]
            for setting in _settings_of(type(self.owner))
            for name in (setting, f"_{setting}")
            if name in own and setting not in elsewhere and _is_setting(own[name])
        }

    def rank_state_dict(self):
        """Those that have changed and are data, on this rank."""
        changed = {name: value for name, value in self._changed().items() if is_data(value)}
        return {
            "kept": {name: encoded(value) for name, value in changed.items()},
            "first": {name: self._first_mark(name) for name in changed},
        }

    def _attempts(self):
        return {}  # what a script sets between two attempts is taken up, as in another process

    def _gone(self):
        return []  # Keras deletes none

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.lost = state["lost"]


def add_settings(model, losses, metrics, objects):
    """Takes in the settings of a model's layers, losses, metrics and optimizers.

    Args:
        model: compiled `keras.Model`, when its training has begun.
        losses, metrics: lists of those that it was compiled with.
        objects: `OwnObjects`.
    """
    layers = list(all_layers(model))[1:]
    optimizers = optimizers_of(model)
    owners = [("layer", each) for each in layers]
    owners += [
        (f"layer {layer.name}.{name}", value)
        for layer in layers
        for name, value in sorted(vars(layer).items())
        if isinstance(value, _OF_LAYERS)
    ]
    owners += [("loss", each) for each in losses] + [("metric", each) for each in metrics]
    owners += [("optimizer", each) for each in dict.fromkeys(map(unwrap, optimizers))]
    for kind, owner in owners:
        if hasattr(owner, "__dict__") and not inspect.isroutine(owner):
            settings = KerasSettings(owner)
            if settings.held():
                name = kind if "." in kind else f"{kind} {getattr(owner, 'name', '')}".strip()
                objects.keep(f"settings of {unnumbered(name)}", settings)


def _is_setting(value):
    if isinstance(value, _OBJECTS) or size(value) > _MOST:
        return False
    return callable(value) or is_data(value)


@functools.cache
def _settings_of(kind):
    """What the `__init__`s of libraries' classes among a class's take, by name."""
    names = set()
    for base in kind.__mro__:
        init = vars(base).get("__init__")
        if is_of_libraries(base) and inspect.isfunction(init):
            names.update(inspect.signature(init).parameters)
    return sorted(names - {"self", "name", "trainable"})
