"""All that a training changes in a model besides what its optimizer trains."""

import contextlib

from keras_dawn.foundation.keras_layers import all_layers, weights_to_train
from keras_dawn.foundation.keras_optimizers import variables_of

import keras
import torch


def optimizers_of(model):
    """The optimizers of a compiled model, each once: Keras's own and those in attributes.

    A `train_step` of one's own may have several, such as `self.d_optimizer`; models inside the
    model may have been compiled too.

    Args:
        model: `keras.Model`.

    Returns:
        list of `keras.optimizers.Optimizer`, the model's `optimizer` first.
    """
    found = {}
    for layer in all_layers(model):
        # The compiled one first: callbacks and checkpoints have always begun with it.
        for value in [getattr(layer, "optimizer", None), *vars(layer).values()]:
            for one in _flat(value):
                if isinstance(one, keras.optimizers.Optimizer):
                    found.setdefault(id(one), one)
    # A `LossScaleOptimizer` counts its inner optimizer's variables among its own.
    inside = {id(getattr(optimizer, "inner_optimizer", None)) for optimizer in found.values()}
    return [optimizer for key, optimizer in found.items() if key not in inside]


def optimizer_variables(model):
    """The variables of all optimizers of a model: rates, counts, velocities."""
    return [variable for one in optimizers_of(model) for variable in variables_of(one)]


def metric_variables(model):
    """What all metrics of a model count in, Keras's own for the loss among them."""
    return [variable for metric in model.metrics for variable in metric.variables]


def state_tensors(model):
    """What layers change by themselves: moving averages, seeds, buffers of torch modules.

    A frozen kernel is not among it. `keras.Variable` knows nothing of the buffers of a torch
    module in a `TorchModuleWrapper`, such as its batch normalisation's running mean.

    Args:
        model: built `keras.Model`.

    Returns:
        list of `torch.Tensor`, the memory itself, in the same order each time.
    """
    return [*[variable.value for variable in state_variables(model)], *torch_buffers(model)]


def state_variables(model):
    """The variables among `state_tensors`, which come first there, in their order."""
    trained = {id(v) for layer in all_layers(model) for v in weights_to_train(layer)}
    return [variable for variable in model.variables if id(variable) not in trained]


def torch_buffers(model):
    """The buffers of the torch modules inside a model, each once."""
    found = {}
    for layer in all_layers(model):
        if isinstance(layer, keras.layers.TorchModuleWrapper):
            found |= {id(buffer): buffer for buffer in layer.module.buffers()}
    return list(found.values())


def _flat(value):
    """The objects in an attribute, or in a list or dict of them."""
    if isinstance(value, dict):
        return list(value.values())
    return list(value) if isinstance(value, (list, tuple)) else [value]


@torch.no_grad()
def overwrite(tensor, content):
    """Writes into a tensor's memory, a trained one's too.

    `tensor.data` would hide it from whoever knows by torch's count of writes what a tensor holds
    (an optimizer's steps, the seed of a generator).
    """
    tensor.copy_(content)


@contextlib.contextmanager
def kept(tensors):
    """What is written to tensors inside is undone at the end."""
    contents = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        for tensor, content in contents:
            overwrite(tensor, content)
