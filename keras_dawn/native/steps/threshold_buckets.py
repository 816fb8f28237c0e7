"""How many decisions are right and wrong at evenly spaced thresholds, of one sum over buckets."""

from typing import NamedTuple

import torch


class Counts(NamedTuple):
    """How many decisions are true and false, positive and negative: tensors `(thresholds,)`."""

    tp: torch.Tensor
    fp: torch.Tensor
    tn: torch.Tensor
    fn: torch.Tensor


def by_buckets(outputs, labels, weight, thresholds):
    """The `Counts` at evenly spaced thresholds from 0 to 1.

    Args:
        outputs: float tensor of any shape.
        labels: bool tensor of that shape.
        weight: float tensor of that shape, or `None`.
        thresholds: their numbers, rising.
    """
    number = len(thresholds)
    lowest = 1 if thresholds[0] < 0.0 or thresholds[-1] > 1.0 else 0
    # Rounded up: an output equal to a threshold is not over it.
    bucket = (outputs * (number - 1)).ceil_().clamp_(lowest, number - 1)
    # Bucket 0 is below the first threshold; those of true labels come after those of false ones.
    place = torch.add(bucket, labels, alpha=number + 1).long().flatten()
    buckets = torch.zeros(2 * (number + 1), device=outputs.device)  # float32, as in Keras
    if weight is None:
        return _of_whole_numbers(buckets.scatter_(0, place, 1.0, reduce="add"), outputs.dtype)
    buckets.scatter_add_(0, place, weight.float().flatten())
    # Over a threshold is whatever lies in its bucket or a higher one: a sum from the end.
    buckets = buckets.view(2, -1).to(outputs.dtype)
    fp, tp = buckets[:, 1:].flip(1).cumsum(1).flip(1)
    positives, negatives = ((weight * which).sum() for which in (labels, ~labels))
    return Counts(tp, fp, negatives - fp, positives - tp)


def _of_whole_numbers(buckets, dtype):
    """The `Counts` of items that all count once, whose sums are exact from either end."""
    below = buckets.view(2, -1).to(dtype).cumsum(1)
    under = below[:, :-1]
    (tn, fn), (fp, tp) = under.unbind(), (below[:, -1:] - under).unbind()
    return Counts(tp, fp, tn, fn)
