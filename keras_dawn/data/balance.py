"""Classes of unequal size: by weights, or by how often their images are served."""

import numbers

from keras_dawn.data.samplers import Shuffled, epoch_order

import numpy as np
import torch


def class_weights(labels, weights="balanced"):
    """The weight of each image by its class, for `weights=` of a sampler.

    Args:
        labels: int `(count,)`.
        weights: dict from class numbers to floats, as `fit(class_weight=…)` takes it (a class that
            is not in it weighs 1); or `"balanced"`: `count / (classes * images of the class)`, as
            scikit-learn has it, with which all classes weigh the same and images 1 in the mean.

    Returns:
        float32 array `(count,)`.

    Raises:
        ValueError: labels that are no class numbers, or weights of other things than classes.

    Example:
        >>> class_weights([0, 0, 1, 1, 1, 1]).tolist()
        [1.5, 1.5, 0.75, 0.75, 0.75, 0.75]
    """
    labels = _class_numbers(labels)
    if isinstance(weights, str) and weights == "balanced":
        counts = np.bincount(labels)
        return (len(labels) / (np.count_nonzero(counts) * counts[labels])).astype(np.float32)
    if not isinstance(weights, dict):
        raise ValueError(
            'The weights must be a dict by class, as {0: 1.0, 1: 3.0}, or "balanced", got '
            f"{type(weights).__name__}. Weights of images go to a sampler: Shuffled(weights=…)."
        )
    # Passed over, a name would leave its class at weight 1. A number that no label has may be of a
    # class without images here.
    wrong = [key for key in weights if not isinstance(key, numbers.Real) or key % 1 or key < 0]
    if wrong:
        raise ValueError(
            f"The weights must have class numbers as keys, got {wrong[0]!r}. Of names: "
            "{class_names.index(name): weight for name, weight in weights.items()}."
        )
    return np.array([weights.get(int(label), 1.0) for label in labels], np.float32)


class Balanced(Shuffled):
    """As many images of each class in every epoch: rare ones again and again, others in turn.

    Each class is gone through in an order of its own, which starts anew, in another order, where it
    ends, also from one epoch to the next: no image is served again before all others of its class
    were. An image that is served twice in an epoch is cropped and flipped differently. Which
    images, and in which order, depends on (seed, epoch) alone.

    Args:
        labels: int `(count,)`, of the images (`source.labels`).
        seed: int, which transforms draw from too.
        per_epoch: int, images an epoch; by default as many as there are.
        weights: as for `InOrder`.

    Raises:
        ValueError: labels that are no class numbers, or fewer images than classes.

    Example:
        >>> sampler = Balanced([0, 0, 0, 0, 0, 1], per_epoch=4)
        >>> sorted(place % 6 // 5 for place in sampler.order(6, epoch=0).tolist())
        [0, 0, 1, 1]
    """

    def __init__(self, labels, seed=0, *, per_epoch=None, weights=None):
        super().__init__(seed, weights)
        labels = _class_numbers(labels)
        self._count = len(labels)
        self.per_epoch = len(labels) if per_epoch is None else per_epoch
        self._members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
        if self.per_epoch < len(self._members):
            raise ValueError(
                f"`per_epoch` must be at least the number of classes, {len(self._members)}, got "
                f"{per_epoch!r}."
            )

    def served(self, count):
        return self.per_epoch

    def check(self, count, world_size):
        super().check(count, world_size)
        if count != self._count:
            raise ValueError(f"`labels` has {self._count} values, the data {count} images.")

    def order(self, count, epoch):
        chosen = np.concatenate(
            [self._of_class(number, epoch) for number in range(len(self._members))]
        )
        order = epoch_order(len(chosen), self.seed, epoch)
        return torch.from_numpy(_numbered(chosen, count))[order]

    def _of_class(self, number, epoch):
        """The places of the images of a class that an epoch serves."""
        classes, members = len(self._members), self._members[number]
        each, rest = divmod(self.per_epoch, classes)
        # Where classes cannot have equally many, those that have one more change with the epoch.
        more = [((number - e) % classes) < rest for e in range(epoch + 1)]
        start = epoch * each + sum(more[:-1])
        # Places count on over all epochs: an epoch is computed without those before it.
        places = np.arange(start, start + each + more[-1])
        rounds = places // len(members)
        orders = {r: epoch_order(len(members), self.seed + 1 + number, int(r)).numpy()
                  for r in np.unique(rounds)}  # fmt: skip
        picked = [orders[r][p] for r, p in zip(rounds, places % len(members), strict=True)]
        return members[np.array(picked, np.int64)]


def _numbered(places, count):
    """Places plus `count` for each time that they were there before."""
    order = places.argsort(kind="stable")
    ordered = places[order]
    first = np.searchsorted(ordered, ordered)
    times = np.empty_like(places)
    times[order] = np.arange(len(places)) - first
    return places + count * times


def _class_numbers(labels):
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise ValueError(
            f"`labels` must be class numbers (count,), got {labels.dtype} of shape {labels.shape}."
        )
    return labels.astype(np.int64)
