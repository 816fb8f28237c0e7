"""What is made the same on all ranks: a model's state, its averages, the logs of an epoch."""

from keras_dawn.distributed.collectives import average_over_ranks, broadcast, gather
from keras_dawn.foundation.keras_variables import memory_of
from keras_dawn.foundation.model_state import (
    optimizer_variables,
    state_tensors,
    state_variables,
    torch_buffers,
)

import keras
import torch


def broadcast_state(model):
    """Gives every rank the weights of rank 0, its optimizers' state and torch buffers."""
    variables = [*model.variables, *optimizer_variables(model)]
    broadcast([*[variable.value for variable in variables], *torch_buffers(model)])


def broadcast_weights(model):
    """Gives every rank the weights of rank 0, where a model was not trained on all ranks yet.

    Moving averages and random numbers stay each rank's own.
    """
    own = set(map(id, state_variables(model)))
    weights = [variable for variable in model.variables if id(variable) not in own]
    broadcast([variable.value for variable in differing(weights)])


def differing(variables):
    """Which of some variables have other values on other ranks."""
    # A sum for each in float64: cheap, and any drift shows in its digits.
    sums = [memory_of(variable).detach().double().sum() for variable in variables]
    everywhere = gather(torch.stack(sums).tolist() if sums else [])
    return [
        variable
        for variable, *values in zip(variables, *everywhere, strict=True)
        if len(set(map(repr, values))) > 1
    ]


def average_moving_statistics(model):
    """Averages moving means and variances, and the like of any layer, over the ranks.

    Those of torch modules inside the model too; whole numbers (seeds, counts) stay as they are.
    """
    average_over_ranks([t.data for t in state_tensors(model) if t.is_floating_point()])


def agreed(results):
    """Results with numbers that differ between ranks replaced by their means.

    Metrics are sums over all ranks and do not differ. What a `train_step` or `test_step` returns
    besides is of the rank's last part, and callbacks of all ranks have to see the same.

    Args:
        results: dict, list or single number, alike on all ranks.
    """
    flat = keras.tree.flatten(results)
    everywhere = gather(flat)
    if len({len(one) for one in everywhere}) > 1:
        # Ranks that return different things cannot be averaged; each keeps its own.
        return results
    means = [
        sum(values) / len(values) if _differ(values) else own
        for own, values in zip(flat, zip(*everywhere, strict=True), strict=True)
    ]
    return keras.tree.pack_sequence_as(results, means)


def _differ(values):
    numbers = all(isinstance(value, (int, float)) for value in values)
    return numbers and len({repr(value) for value in values}) > 1
