"""What is made the same on all ranks: a model's state, its averages, the logs of an epoch."""

from keras_dawn.distributed.collectives import average_over_ranks, broadcast, gather
from keras_dawn.foundation.model_state import optimizer_variables, state_tensors, torch_buffers

import keras


def broadcast_state(model):
    """Gives every rank the weights of rank 0, its optimizers' state and torch buffers."""
    variables = [*model.variables, *optimizer_variables(model)]
    broadcast([*[variable.value for variable in variables], *torch_buffers(model)])


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
