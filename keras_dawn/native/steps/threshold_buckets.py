"""How many decisions are right and wrong at evenly spaced thresholds, of one sum over buckets."""

from typing import NamedTuple

from keras_dawn.foundation import keras_variables
from keras_dawn.foundation.keras_waiting import wait_to_be_read

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
    place = _places(outputs, labels, thresholds)
    size = 2 * (len(thresholds) + 1)
    if weight is None:
        buckets = torch.zeros(size, dtype=torch.int64, device=outputs.device)
        return _of_whole_numbers(buckets.scatter_(0, place, 1, reduce="add"), outputs.dtype)
    buckets = torch.zeros(size, device=outputs.device)  # float32, as in Keras
    buckets.scatter_add_(0, place, weight.float().flatten())
    # Over a threshold is whatever lies in its bucket or a higher one: a sum from the end.
    buckets = buckets.view(2, -1).to(outputs.dtype)
    fp, tp = buckets[:, 1:].flip(1).cumsum(1).flip(1)
    positives, negatives = ((weight * which).sum() for which in (labels, ~labels))
    return Counts(tp, fp, negatives - fp, positives - tp)


class GatheredBuckets:
    """Batches that are added up by buckets, and counted when somebody reads the variables.

    Args:
        variables: list of Keras variables, what is counted.
        places: list of str, the field of `Counts` that belongs to each.
        thresholds: their numbers, rising and evenly spaced from 0 to 1.
    """

    def __init__(self, variables, places, thresholds):
        self._variables, self._places, self._thresholds = variables, places, thresholds
        self._one = self._buckets = None
        self._waits = False

    def add(self, outputs, labels):
        """Adds a batch: a float and a bool tensor of one shape."""
        if not self._waits:
            self._begin(outputs.device)
        place = _places(outputs, labels, self._thresholds)
        self._buckets.index_add_(0, place, self._one.expand(place.shape))

    def _begin(self, device):
        if self._buckets is None:
            with torch.inference_mode(False):  # for steps outside of it, too
                size = 2 * (len(self._thresholds) + 1)
                # Whole numbers, which do not end at 2 ** 24 as Keras's floats do.
                self._buckets = torch.zeros(size, dtype=torch.int64, device=device)
                self._one = torch.ones(1, dtype=torch.int64, device=device)
        wait_to_be_read(self._variables, self._count)
        self._waits = True

    @torch.no_grad()
    def _count(self):
        self._waits = False
        states = list(map(keras_variables.memory_of, self._variables))
        found = _of_whole_numbers(self._buckets, states[0].dtype)
        torch._foreach_add_(states, [getattr(found, place) for place in self._places])
        self._buckets.zero_()


def _places(outputs, labels, thresholds):
    """The bucket of each output, flat; those of true labels come after those of false ones."""
    highest = len(thresholds) - 1
    # Bucket 0 is below the first threshold, and so is what is no number. It is in Keras, too, where
    # its cast to a whole number gives the lowest one: on a processor; on a GPU it gives 0.
    lowest = 1 if thresholds[0] < 0.0 or thresholds[-1] > 1.0 else 0
    # Rounded up: an output equal to a threshold is not over it.
    bucket = (outputs * highest).ceil_().clamp_(lowest, highest).nan_to_num_(0.0)
    return torch.add(bucket, labels, alpha=highest + 2).long().flatten()


def _of_whole_numbers(buckets, dtype):
    """The `Counts` of items that all count once, whose sums are exact from either end."""
    below = buckets.view(2, -1).cumsum(1)
    under = below[:, :-1]
    (tn, fn), (fp, tp) = under.to(dtype).unbind(), (below[:, -1:] - under).to(dtype).unbind()
    return Counts(tp, fp, tn, fn)
