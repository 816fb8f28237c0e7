"""Batches of images from whatever holds them."""

import contextlib

from keras_dawn.distributed import sharding
from keras_dawn.foundation.arrays import tensor_of

import keras
import numpy as np
import torch


class Batches:
    """Batches of `(images, labels)` as tensors, from arrays or from data for `fit`.

    Going through data that counts epochs leaves its epoch as it was. Data that a `fit` has shared
    out to several ranks serves all of it here, unless this rank's share is asked for.

    Args:
        x: array or tensor of images, a tuple of it and their labels, or data that yields batches
            of them, with labels or without.
        y: array or tensor of labels, or `None`.
        batch_size: int, of the batches that arrays are cut into.
        as_shared: bool, whether data that is shared out serves this rank's share.

    Example:
        >>> [len(images) for images, labels in Batches(np.zeros((5, 2, 2, 3)), batch_size=3)]
        [3, 2]
    """

    def __init__(self, x, y=None, batch_size=256, as_shared=False):
        self.x, self.y = x if y is None and _is_pair(x) else (x, y)
        self.batch_size, self.as_shared = batch_size, as_shared

    def __iter__(self):
        for images, labels, _ in self.weighted():
            yield images, labels

    def weighted(self):
        """Batches of `(images, labels, weights)`; the weights are `None` where there are none."""
        return self._of_arrays() if _is_array(self.x) else self._of_data()

    def _of_arrays(self):
        images, labels = self.x, self.y
        if labels is not None and not isinstance(labels, torch.Tensor):
            labels = tensor_of(np.array(labels))  # of a column of a data frame too
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield tensor_of(images[part]), None if labels is None else labels[part], None

    def _of_data(self):
        served = contextlib.nullcontext() if self.as_shared else sharding.all_served(self.x)
        with epoch_kept(self.x), served:
            for batch in self.x:
                images, *rest = keras.utils.unpack_x_y_sample_weight(batch)
                rest = (None if part is None else tensor_of(part) for part in rest)
                yield tensor_of(images), *rest


@contextlib.contextmanager
def epoch_kept(data):
    """Leaves the epoch of data that counts epochs as it was, and that of its settings."""
    before = epochs_of(data)
    try:
        yield
    finally:
        if hasattr(data, "set_epoch") and epochs_of(data) != before:
            epoch, settings = before
            data.set_epoch(epoch)
            if settings is not None:  # which `set_epoch` has forgotten
                data.settings_epoch = settings


def epochs_of(data):
    """`(epoch, settings_epoch)`: the pass, and the epoch of the settings; `None` where none is."""
    return getattr(data, "epoch", None), getattr(data, "settings_epoch", None)


def _is_array(value):
    return isinstance(value, (np.ndarray, torch.Tensor))


def _is_pair(value):
    """Whether it is images and their labels; two batches of images have as many axes."""
    both = isinstance(value, tuple) and len(value) == 2 and all(map(_is_array, value))
    return both and value[1].ndim < value[0].ndim
