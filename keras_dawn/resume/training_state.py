"""What a training is between two steps, for checkpoints: taken down and put back."""

from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_optimizers
from keras_dawn.foundation.hyperparameters import available, unwrap
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.keras_models import is_overridden
from keras_dawn.foundation.model_state import (
    metric_variables,
    optimizers_of,
    overwrite,
    state_tensors,
)
from keras_dawn.foundation.plain_state import to_plain

import torch

FORMAT = 9


def collect(model, parts, position):
    """The state of a training as a dict of plain values; `None` on all ranks but 0.

    Args:
        model: `keras.Model` in a `fit`.
        parts: dict of objects with `state_dict`, and `rank_state_dict` for what differs by rank.
        position: what `DataPosition.now` returned.
    """
    own = {
        "data": position,
        "statistics": [on_cpu(tensor) for tensor in state_tensors(model)],
        "metrics": [copied(v) for v in metric_variables(model)],
        "parts": {
            name: to_plain(part.rank_state_dict(), name)
            for name, part in parts.items()
            if hasattr(part, "rank_state_dict")
        },
    }
    ranks = gather(own) if current().several else [own]
    if not current().is_main:
        return None
    return {
        "format": FORMAT,
        "variables": [copied(v) for v in model.variables],
        "frozen": [not layer.trainable for layer in all_layers(model)],
        "frozen_variables": [not variable.trainable for variable in model.variables],
        "statistics": [own["statistics"] for own in ranks],
        "optimizers": [optimizer_state(one, model) for one in optimizers_of(model)],
        "gradients": gradients(model),
        "metrics": [own["metrics"] for own in ranks],
        "parts": {name: to_plain(part.state_dict(), name) for name, part in parts.items()},
        "rank_parts": [own["parts"] for own in ranks],
        "data": [own["data"] for own in ranks],
    }


def check_format(state, path):
    """Raises `ValueError` unless this version reads the checkpoint in the folder `path`."""
    if state["format"] != FORMAT:
        raise ValueError(
            f"The checkpoint in {path} is of format {state['format']}, this version of keras_dawn "
            f"reads {FORMAT}. Give another folder, or delete it."
        )


def check_weights(state, model, path):
    """Raises `ValueError` unless a checkpoint in the folder `path` fits this model."""
    new = [f"{v.path} {_shape(v.value)}" for v in model.variables]
    names = state["description"]["variables"]
    old = [f"{n} {_shape(value)}" for n, value in zip(names, state["variables"], strict=True)]
    shapes = [[each.partition(" ")[2] for each in weights] for weights in (old, new)]
    if shapes[0] == shapes[1]:
        return
    differ = [f"{a} → {b}" for a, b, c, d in zip(old, new, *shapes, strict=False) if c != d]
    what = f"{len(old)} → {len(new)} weights" if len(old) != len(new) else differ[0]
    raise ValueError(
        f"The checkpoint in {path} is of another model: {what}. Train that model, or give another "
        "folder."
    )


def _shape(tensor):
    return f"{tuple(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"


def copied(variable):
    """A variable's content on the CPU, in memory of its own."""
    return on_cpu(variable.value)


def on_cpu(tensor):
    """A tensor's content on the CPU, in memory of its own."""
    return tensor.detach().to("cpu", copy=True)


def restore_frozen(model, state):
    """Freezes the layers and the single variables that were frozen, and no others."""
    for layer, frozen in zip(all_layers(model), state["frozen"], strict=True):
        if layer.trainable is frozen:
            layer.trainable = not frozen  # a model says it to the layers inside, which come later
    for variable, frozen in zip(model.variables, state["frozen_variables"], strict=True):
        if variable.trainable is frozen:
            variable.trainable = not frozen


def restore_layouts(model, state):
    """Lays the model's weights out in memory as they were, before anything is restored into them.

    An evaluation by the graph lays a kernel out for torch, and a step that keeps its Python rounds
    by the layout that it meets: a process that has not evaluated yet would train otherwise.
    """
    for variable, saved in zip(model.variables, state["variables"], strict=True):
        tensor = variable.value
        if tensor.stride() != saved.stride():
            laid_out = torch.empty_like(saved, dtype=tensor.dtype, device=tensor.device)
            tensor.data, tensor.grad = laid_out.copy_(tensor.detach()), None


def restore_variables(model, state, statistics):
    """Puts weights, the state of layers and that of all optimizers back.

    Args:
        model: `keras.Model`.
        state: dict, the checkpoint.
        statistics: list of tensors, this rank's state of layers.
    """
    optimizers = optimizers_of(model)
    pairs = list(zip(model.variables, state["variables"], strict=True))
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        pairs += restore_optimizer(optimizer, saved, model)
    contents = [(variable.value, value) for variable, value in pairs]
    # Last, and each rank's own: within an epoch they differ, and seeds always do.
    contents += zip(state_tensors(model), statistics, strict=True)
    for tensor, value in contents:
        overwrite(tensor, value)  # in place: others look at the same memory


def restore_optimizer(optimizer, saved, model):
    """Puts an optimizer's numbers back; its variables are left to the caller.

    Args:
        optimizer: `keras.optimizers.Optimizer`; it is built if it is not.
        saved: what `optimizer_state` returned.
        model: `keras.Model`.

    Returns:
        list of `(variable, value)`.
    """
    if saved["built_for"] is not None and not optimizer.built:
        # For the same variables in the same order: with layers frozen since, Keras would build
        # for fewer.
        optimizer.build([model.variables[number] for number in saved["built_for"]])
    for name, value in saved["hyperparameters"].items():
        setattr(unwrap(optimizer), name, value)
    variables = keras_optimizers.variables_of(optimizer)
    if len(variables) != len(saved["variables"]):
        raise ValueError(
            f"The {type(optimizer).__name__} of the checkpoint keeps {len(saved['variables'])} "
            f"variables, that of this training {len(variables)}. Compile with the settings that "
            "the training began with, or give another folder; a training in which a callback "
            "compiles for fewer weights cannot be gone on with."
        )
    pairs = zip(variables, saved["variables"], strict=True)
    return list(pairs) if optimizer.built else []


def optimizer_state(optimizer, model):
    """An optimizer's variables and numbers, and which of the model's variables it is for.

    `built_for` is `None` of one that is not built, or is built for others.
    """
    inner = unwrap(optimizer)
    numbers = {variable_id: n for n, variable_id in enumerate(map(id, model.variables))}
    trained = keras_optimizers.trainable_variables(inner) if inner.built else []
    known = inner.built and all(id(v) in numbers for v in trained)
    return {
        "built_for": [numbers[id(v)] for v in trained] if known else None,
        "variables": [copied(v) for v in keras_optimizers.variables_of(optimizer)],
        "hyperparameters": {name: getattr(inner, name) for name in plain_numbers(inner)},
    }


def gradients(model):
    """The gradients that an own `train_step` may add to in its next steps; `{}` of Keras's.

    All ranks have the same: they are averaged in the backward pass.
    """
    if not is_overridden(model, "train_step"):
        return {}
    held = {number: variable.value.grad for number, variable in enumerate(model.variables)}
    return {number: on_cpu(grad) for number, grad in held.items() if grad is not None}


def restore_gradients(model, saved):
    """Puts back what `gradients` returned."""
    if not is_overridden(model, "train_step"):
        return
    for number, variable in enumerate(model.variables):
        tensor, grad = variable.value, saved.get(number)
        if grad is not None:
            grad = torch.empty_like(grad, device=tensor.device).copy_(grad)
        tensor.grad = grad


def plain_numbers(optimizer):
    """Hyper-parameters that are Python numbers or off (`None`), not variables."""
    names = available(optimizer)
    return [n for n in names if isinstance(getattr(optimizer, n), (int, float, type(None)))]
