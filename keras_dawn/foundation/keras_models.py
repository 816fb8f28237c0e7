"""Models: the graph behind a Functional or Sequential one, and which methods are its own."""

from keras_dawn.foundation.keras_variables import TENSORS

import keras
import torch
from keras.src.models.functional import Functional  # which is not exported


def functional_graph(model):
    """The `Functional` that computes a model, or `None` if it is no static graph.

    A `Sequential` keeps one inside. A subclass with a `call` of its own has none.
    """
    if isinstance(model, keras.Sequential):
        if type(model).call is not keras.Sequential.call:
            return None
        return model._functional if model.built else None
    if isinstance(model, Functional) and type(model).call is Functional.call:
        return model
    return None


def nodes(functional):
    """The calls of a `Functional`'s operations, in an order in which they can run."""
    by_depth = functional._nodes_by_depth
    # Keras counts the depth from the outputs: the inputs are deepest.
    for depth in sorted(by_depth, reverse=True):
        for node in by_depth[depth]:
            if node.operation and not node.is_input:
                yield node


def output_structure(functional):
    """The structure of a `Functional`'s outputs."""
    return functional._outputs_struct


def input_structure(functional):
    """The structure of a `Functional`'s inputs, with their numbers; 0 for a single one."""
    made = functional._inputs_struct
    if isinstance(made, keras.KerasTensor) or (len(made) == 1 and type(made) in (list, tuple)):
        return 0
    return keras.tree.pack_sequence_as(made, list(range(len(functional.inputs))))


def match_inputs(functional, inputs):
    """What a `Functional` is called with, flat, in the order of its inputs.

    A dict finds inputs of a list by their names, as in `Functional.call`.
    """
    wanted = functional._inputs_struct
    if isinstance(inputs, dict) and not isinstance(wanted, dict):
        inputs = [inputs.get(tensor.name) for tensor in keras.tree.flatten(wanted)]
    flat = keras.tree.flatten(inputs)
    return flat if len(flat) == len(functional.inputs) else [None] * len(functional.inputs)


def flat_inputs(functional, inputs):
    """The tensors of inputs in the structure that a `Functional` was made with, in its order.

    `None` for anything else, and for structures inside structures.
    """
    made = functional._inputs_struct
    if type(inputs) is dict and type(made) is dict:
        if inputs.keys() != made.keys():
            return None
        inputs, made = ([part[name] for name in sorted(made)] for part in (inputs, made))
    elif type(inputs) not in (list, tuple) or type(made) not in (list, tuple):
        return None
    if len(inputs) != len(made) or any(type(x) not in TENSORS for x in inputs):
        return None
    flat = all(isinstance(symbol, keras.KerasTensor) for symbol in made)
    return list(inputs) if flat else None


def standardize_inputs(functional, inputs):
    """The flat list of input tensors as a call of the `Functional` makes it.

    Raises Keras's `ValueError` for inputs that it does not know, or too many.
    """
    if isinstance(inputs, dict) or len(keras.tree.flatten(inputs)) != len(functional.inputs):
        functional._assert_input_compatibility(inputs)  # `call` itself would leave out the rest
    return functional._standardize_inputs(inputs)


def is_overridden(model, name):
    """Whether the model brings its own version of a `keras.Model` method, by class or by itself."""
    if name in vars(model) and not name.startswith("make_"):  # `accelerate` puts those there
        return True
    return getattr(type(model), name) is not getattr(Functional, name)


def has_own_call(model):
    """Whether a model that is no graph of layers has a `call`; one of a GAN may have none."""
    return is_overridden(model, "call") and type(model).call is not keras.Model.call


def has_own_step(model):
    """Whether a layer is a model with Python of its own around its `call`, such as a step."""
    names = ("train_step", "test_step", "compute_loss", "compute_metrics")
    return isinstance(model, keras.Model) and any(is_overridden(model, name) for name in names)


def waits_for_a_batch(model):
    """Whether a model, its loss or its metrics are built on the first batch, which has not come."""
    for name in ("loss", "metrics"):
        part = getattr(model, f"_compile_{name}", None)
        if part is not None and not part.built and not is_overridden(model, f"compute_{name}"):
            return True
    return not model.built


def build_on(model, batch):
    """Builds a model, its loss and its metrics, as far as they are not, as Keras's `fit` does."""
    model._symbolic_build(data_batch=batch)


def is_made_by_keras(function):
    """Whether what stands in a model's `train_function` or the like was made by Keras."""
    return getattr(function, "__module__", None) == keras.Model.make_train_function.__module__


def method_of(model, name):
    """What stands behind a method's name: the model's own, or its class's."""
    return vars(model).get(name, getattr(type(model), name))


def note_graph(model, reads):
    """Notes the graph of a model, which `Sequential.add` and `pop` make anew."""
    if isinstance(model, keras.Sequential):  # a `Functional` is its own, and stays so
        reads.note(model, "_functional", model._functional)


def has_training_argument(model):
    """Whether `fit` tells a model the mode."""
    return model._call_has_training_arg


def clear_gradients(model):
    """What `model.zero_grad()` does, without looking for the names of all weights.

    Args:
        model: `keras.Model` that has been tracked by torch's modules; else its own method runs.
    """
    if not hasattr(model, "_torch_params"):
        torch.nn.Module.zero_grad(model)
        return
    modules, seen = [model], set()
    while modules:
        module = modules.pop()
        if module is None or id(module) in seen:
            continue
        seen.add(id(module))
        for parameter in module._parameters.values():
            if parameter is not None and parameter.grad is not None:
                parameter.grad = None
        modules.extend(module._modules.values())
