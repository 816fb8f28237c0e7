"""What a checkpoint of so many ranks gives each rank of a job that has more of them, or fewer.

Most of a training is the same on all ranks and is saved once. What each rank has of its own goes
on by these rules:

* moving averages, and other floats that layers and averages of weights keep without training
  them: their means over the ranks, as at the end of an epoch;
* sums of the metrics within an epoch: those of all ranks, shared out evenly;
* random numbers: a rank that there was goes on with its own, one that there was not gets its own
  as when a training begins; a random generator in the data starts as that of an earlier rank;
* attributes of callbacks without a state of their own: as they are if all ranks have them alike,
  else they begin anew;
* batch normalisation that is not synchronised normalises by a rank's own images: other ranks train
  otherwise from there on, as they would have from the beginning;
* everything else has to be the same on all ranks, or the change of their number is refused.
"""

from keras_dawn.foundation import keras_random
from keras_dawn.foundation.model_state import state_variables
from keras_dawn.foundation.plain_state import alike
from keras_dawn.foundation.random_state import state_of_new_rank

import torch

_NOTES = ("made", "begun", "first", "now")


class DiffersError(ValueError):
    """Names what the ranks did not have alike."""

    def __init__(self, what):
        super().__init__(
            f"{what} differs between the ranks of the checkpoint, so it is not known what another "
            "number of ranks is to go on with. Start as many processes as before, or give another "
            "folder."
        )


def share_of(state, rank, world_size, model, generators, implicit=()):
    """What is a rank's own of a checkpoint.

    Args:
        state: dict, the checkpoint.
        rank, world_size: int, of this job.
        model: `keras.Model`.
        generators: names of the random generators in the data (`DataPosition.generators`).
        implicit: names of the parts that may begin anew.

    Returns:
        dict: `data` (a position), `statistics` and `metrics` (lists of tensors), `parts` (dict of
        states).

    Raises:
        ValueError: what differs between the ranks, and no rule is for it.
    """
    before = len(state["data"])
    if before == world_size:
        return {
            "data": state["data"][rank],
            "statistics": state["statistics"][rank],
            "metrics": state["metrics"][rank],
            "parts": state["rank_parts"][rank],
        }
    names = [variable.path for variable in state_variables(model)]
    of_seeds = {variable.path for variable in state_variables(model)
                if keras_random.is_seed(variable)}  # fmt: skip
    names += ["a buffer of a torch module"] * (len(state["statistics"][0]) - len(names))
    return {
        "data": _position(state["data"], rank, generators),
        "statistics": [
            _seed(values, rank) if name in of_seeds else _mean(values, f"{name} of the model")
            for name, *values in zip(names, *state["statistics"], strict=True)
        ],
        "metrics": [
            _part(sum(values), rank, world_size) for values in zip(*state["metrics"], strict=True)
        ],
        "parts": {
            name: _part_of_all([own[name] for own in state["rank_parts"]], name, name in implicit)
            for name in state["rank_parts"][0]
        },
    }  # fmt: skip


def _seed(values, rank):
    if rank < len(values):
        return values[rank]
    return keras_random.seed_of_rank(values[0], rank)


def _part(total, rank, world_size):
    """A rank's part of a sum; of whole numbers, rank 0 has all."""
    if total.is_floating_point():
        return total / world_size
    return total if rank == 0 else torch.zeros_like(total)


def _mean(values, what):
    if alike(values):
        return values[0]
    if not values[0].is_floating_point():
        raise DiffersError(what)
    return torch.stack([value.double() for value in values]).mean(0).to(values[0].dtype)


def _part_of_all(values, name, may_begin_anew):
    if may_begin_anew:
        return values[0] if alike(values) else {}
    return _means(values, f"The state of {name}")


def _means(values, what):
    """`_mean` of every tensor in a structure."""
    first = values[0]
    if alike(values):
        return first
    if isinstance(first, torch.Tensor):
        return _mean(values, what)
    if isinstance(first, dict) and all(list(one) == list(first) for one in values):
        return {key: _means([one[key] for one in values], what) for key in first}
    if isinstance(first, (list, tuple)) and len({len(one) for one in values}) == 1:
        return type(first)(_means(parts, what) for parts in zip(*values, strict=True))
    raise DiffersError(what)


def _position(positions, rank, generators):
    """The place in the data, of which all ranks have fetched as many batches."""
    own = dict(positions[0])
    for name in own.keys() - set(_NOTES):
        if not alike([position[name] for position in positions]):
            raise DiffersError(f"What was fetched of the data ({name})")
    if own["digest"] is not None:
        raise DiffersError("Data that can only be read on")
    for name in _NOTES:
        if own[name] is not None:
            own[name] = _note([position[name] for position in positions], rank, generators)
    return own


def _note(notes, rank, generators):
    """Random numbers, and what the data keeps in itself, at one time."""
    own = notes[rank % len(notes)]
    for which, random in generators.items():
        states = [note[which] for note in notes]
        for name in sorted({name for state in states for name in state} - random):
            if not alike([state.get(name) for state in states]):
                raise DiffersError(f"The state of the {which} ({name or 'its own'})")
    if rank < len(notes):
        return own
    return {**own, "random": state_of_new_rank([note["random"] for note in notes], rank)}
