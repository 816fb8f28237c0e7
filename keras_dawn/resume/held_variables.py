"""States of what the user's code holds beside the model: models, metrics, optimizers, data."""

from keras_dawn.foundation import keras_fit
from keras_dawn.foundation.model_state import overwrite
from keras_dawn.foundation.source_state import SourceState
from keras_dawn.resume.training_state import on_cpu, optimizer_state, restore_optimizer

import keras
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

_OF_KERAS = (keras.Layer, keras.metrics.Metric, keras.random.SeedGenerator)
DATA = (DataLoader, Dataset, Sampler, keras.utils.PyDataset)


def holder_of(thing, name, model):
    """What has `state_dict` and `load_state_dict` for a thing of a library's; `None` of others.

    Args:
        thing: anything.
        name: str, for messages.
        model: the `keras.Model` in training.
    """
    if isinstance(thing, keras.optimizers.Optimizer):
        return HeldOptimizer(thing, name, model)
    if isinstance(thing, (*_OF_KERAS, keras.Variable, torch.nn.Module)):
        return HeldVariables(thing, name, model)
    if isinstance(thing, DATA):
        source = SourceState(thing)
        return None if source.unknown else HeldData(source)
    return None


class HeldVariables:
    """The weights and the state of a model, a layer, a metric or a module of torch's.

    Args:
        thing: what holds them.
        name: str, for messages.
        model: the `keras.Model` in training, whose own are saved already.
    """

    def __init__(self, thing, name, model):
        self._thing, self._name, self._model = thing, name, model
        self._first = len(self._tensors())

    def state_dict(self):
        return {}

    def rank_state_dict(self):
        """All values, of which each rank may have its own."""
        values = [on_cpu(tensor) for tensor in self._checked(self._first)]
        return {"values": values, "built": self._is_built()}

    def load_state_dict(self, state):
        tensors = self._checked(len(state["values"]))
        for tensor, value in zip(tensors, state["values"], strict=True):
            overwrite(tensor, value)
        if state["built"] and not self._is_built():
            keras_fit.build_without_draws(self._thing)

    def _is_built(self):
        """Whether it has been trained or evaluated, if it is a model that can be."""
        compiled = isinstance(self._thing, keras.Model) and self._thing.compiled
        return compiled and not keras_fit.is_to_be_built(self._thing)

    def _checked(self, count):
        tensors = self._tensors()
        if len(tensors) != count:
            raise ValueError(
                f"{self._name} holds {len(tensors)} variables and {count} are expected, as it is "
                f"a {type(self._thing).__name__} that is built in the course of the training. "
                "Build it before `fit`."
            )
        return tensors

    def _tensors(self):
        thing = self._thing
        if isinstance(thing, keras.Variable):
            variables = [thing]
        elif isinstance(thing, keras.random.SeedGenerator):
            variables = [thing.state]
        else:
            variables = thing.variables if isinstance(thing, _OF_KERAS) else []
        tensors = [variable.value for variable in variables]
        if isinstance(thing, torch.nn.Module):  # Keras's layers are such as well
            tensors += [*thing.parameters(), *thing.buffers()]
        known = {id(variable.value) for variable in self._model.variables}
        found = {id(tensor): tensor for tensor in tensors if id(tensor) not in known}
        return list(found.values())


class HeldOptimizer:
    """An optimizer of Keras's that is none of the model's own, such as one within another.

    Args:
        optimizer: `keras.optimizers.Optimizer`.
        name: str, for messages.
        model: the `keras.Model` in training, whose variables it trains.
    """

    def __init__(self, optimizer, name, model):
        self._optimizer, self._name, self._model = optimizer, name, model
        self._built = optimizer.built

    def state_dict(self):
        state = optimizer_state(self._optimizer, self._model)
        if state["built_for"] is None and self._optimizer.built and not self._built:
            raise ValueError(
                f"{self._name} is an optimizer of other variables than the model's that is built "
                "in the course of the training. Build it before `fit`."
            )
        return state

    def load_state_dict(self, state):
        for variable, value in restore_optimizer(self._optimizer, state, self._model):
            overwrite(variable.value, value)


class HeldData:
    """A loader or a dataset that is none of the `fit`'s.

    Args:
        source: `SourceState` of it.
    """

    def __init__(self, source):
        self._source = source

    def state_dict(self):
        return {}

    def rank_state_dict(self):
        return {"now": self._source.now()}

    def load_state_dict(self, state):
        self._source.put_back(state["now"])
