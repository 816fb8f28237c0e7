"""Which layers of a model can compute natively by themselves."""

from keras_dawn.foundation import keras_layers, keras_models
from keras_dawn.native.lowering.rules import find_rule
from keras_dawn.native.steps.parts import Part

import keras


def find_parts(model, include_self=True):
    """A `Part` for every layer of a model that can compute natively by itself, by its id."""
    layers = keras_layers.all_layers(model)
    parts = {}
    for layer in layers if include_self else layers[1:]:
        if not getattr(layer, "built", False) or id(layer) in parts:
            continue
        if may_be_native(layer):
            parts[id(layer)] = Part(layer)
    return parts


def may_be_native(layer):
    """Whether a layer has a rule or is a graph of layers, and does nothing beside its call."""
    # A model inside the model is one graph, not its layers one by one.
    graph = isinstance(layer, keras.Model) and keras_models.functional_graph(layer)
    return bool(graph or find_rule(layer) is not None) and keras_layers.keeps_keras_call(layer)
