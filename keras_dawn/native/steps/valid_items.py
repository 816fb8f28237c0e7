"""How many items of a batch a mask leaves, which a loss is a mean over."""

import contextlib

from keras_dawn.distributed.collectives import start_sum
from keras_dawn.distributed.ranks import current
from keras_dawn.native.steps import joint_evaluation

import torch

_weight = None  # of this rank's part, while the items of all ranks are counted


@contextlib.contextmanager
def over_ranks(rank_weight):
    """Counts the items of all ranks inside, which have to come to each count alike.

    In an evaluation of all ranks some may be at their end: see `joint_evaluation`.

    Args:
        rank_weight: float, what this rank's loss is multiplied by before the mean over ranks.
    """
    global _weight
    before, _weight = _weight, rank_weight
    try:
        yield
    finally:
        _weight = before


def valid_items(mask, dtype):
    """The number of items that are not masked, as a 0-d tensor of a dtype.

    On several ranks it is what this rank has to divide by so that the weighted mean over the ranks
    is the sum of all losses over the number of all valid items.
    """
    number = mask.to(dtype).sum()
    if _weight is None:
        return number
    if joint_evaluation.is_under_way():
        number = joint_evaluation.sum_of_number(number)
    else:
        start_sum(number).wait()
    return number * (_weight / current().world_size)


def share_of_valid(mask, dtype):
    """What a mean over this rank's valid items is multiplied by to be one over all ranks'."""
    number, of_all = mask.to(dtype).sum(), valid_items(mask, dtype)
    return torch.where(of_all == 0, 0.0, number / of_all)
