"""What a training is between two steps, for checkpoints: taken down and put back."""

from keras_dawn.distributed.batch_norm import normalization_layers
from keras_dawn.distributed.collectives import gather
from keras_dawn.distributed.ranks import current
from keras_dawn.hyperparameters import available, unwrap
from keras_dawn.random_state import random_state

FORMAT = 2


def collect(model, epoch, step, parts, random_at_start):
    """The state of a training as a dict of plain values; `None` on all ranks but 0.

    Args:
        model: `keras.Model` in a `fit`.
        epoch, step: ints, where the training goes on: the epoch, and its steps that are done.
        parts: dict of objects with `state_dict`, and `rank_state_dict` for what differs by rank.
        random_at_start: `random_state()` of the beginning of that epoch.
    """
    optimizer = unwrap(model.optimizer)
    own = {
        "random": random_state(),
        "random_at_start": random_at_start if step else random_state(),
        "statistics": [copied(v) for v in statistics_of(model)],
        "metrics": [copied(v) for v in metric_variables(model)],
        "parts": {
            name: part.rank_state_dict()
            for name, part in parts.items()
            if hasattr(part, "rank_state_dict")
        },
    }
    ranks = gather(own) if current().several else [own]
    if not current().is_main:
        return None
    return {
        "format": FORMAT,
        "epoch": epoch,
        "step": step,
        "variables": [copied(v) for v in model.variables],
        "statistics": [own["statistics"] for own in ranks],
        "optimizer": [copied(v) for v in model.optimizer.variables],
        "hyperparameters": {n: getattr(optimizer, n) for n in plain_numbers(optimizer)},
        "metrics": [own["metrics"] for own in ranks],
        "parts": {name: part.state_dict() for name, part in parts.items()},
        "rank_parts": [own["parts"] for own in ranks],
        "random": [own["random"] for own in ranks],
        "random_at_start": [own["random_at_start"] for own in ranks],
    }


def check_state(state, model, path):
    """Raises `ValueError` unless a checkpoint in the folder `path` fits this model and job."""
    if state["format"] != FORMAT:
        raise ValueError(
            f"The checkpoint in {path} is of format {state['format']}, this version of keras_dawn "
            f"reads {FORMAT}. Give another folder, or delete it."
        )
    shapes = [tuple(v.shape) for v in model.variables]
    if shapes != [tuple(value.shape) for value in state["variables"]]:
        raise ValueError(
            f"The checkpoint in {path} is of another model. Give another folder, or delete it."
        )
    if len(state["random"]) != current().world_size:
        raise ValueError(
            f"The checkpoint in {path} is of {len(state['random'])} ranks, this is a job of "
            f"{current().world_size}. Start as many processes, or give another folder."
        )


def copied(variable):
    """A variable's content on the CPU, in memory of its own."""
    return variable.value.detach().to("cpu", copy=True)


def restore_variables(model, state):
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    pairs = [
        *zip(model.variables, state["variables"], strict=True),
        *zip(statistics_of(model), state["statistics"][current().rank], strict=True),
        *zip(model.optimizer.variables, state["optimizer"], strict=True),
    ]
    for variable, value in pairs:
        variable.value.data.copy_(value)  # in place: others look at the same memory
    optimizer = unwrap(model.optimizer)
    for name, value in state["hyperparameters"].items():
        setattr(optimizer, name, value)


def statistics_of(model):
    """Moving averages, which differ between ranks within an epoch."""
    layers = normalization_layers(model)
    return [v for layer in layers for v in (layer.moving_mean, layer.moving_variance)]


def metric_variables(model):
    return [variable for metric in model.metrics for variable in metric.variables]


def plain_numbers(optimizer):
    """Hyper-parameters that are Python numbers, not variables."""
    names = available(optimizer)
    return [n for n in names if isinstance(getattr(optimizer, n), (int, float))]
