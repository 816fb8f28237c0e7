"""Batches of images from whatever holds them."""

import contextlib

import keras
import numpy as np
import torch


class Batches:
    """Batches of `(images, labels)` as tensors, from arrays or from data for `fit`.

    Going through data that counts epochs leaves its epoch as it was.

    Args:
        x: array or tensor of images, or data that yields batches of them, with labels or
            without.
        y: array or tensor of labels, or `None`.
        batch_size: int, of the batches that arrays are cut into.

    Example:
        >>> [len(images) for images, labels in Batches(np.zeros((5, 2, 2, 3)), batch_size=3)]
        [3, 2]
    """

    def __init__(self, x, y=None, batch_size=256):
        self.x, self.y, self.batch_size = x, y, batch_size

    def __iter__(self):
        if isinstance(self.x, (np.ndarray, torch.Tensor)):
            return self._of_arrays()
        return self._of_data()

    def _of_arrays(self):
        images = torch.as_tensor(self.x)
        labels = self.y
        if labels is not None and not isinstance(labels, torch.Tensor):
            labels = torch.as_tensor(np.array(labels))  # of a column of a data frame too
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield images[part], None if labels is None else labels[part]

    def _of_data(self):
        with epoch_kept(self.x):
            for batch in self.x:
                # Data with a sampler's weights yields three; they do not matter for an answer.
                images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
                yield torch.as_tensor(images), None if labels is None else torch.as_tensor(labels)


@contextlib.contextmanager
def epoch_kept(data):
    """Leaves the epoch of data that counts epochs as it was, and that of its settings."""
    before = _epochs(data)
    try:
        yield
    finally:
        if hasattr(data, "set_epoch") and _epochs(data) != before:
            epoch, settings = before
            data.set_epoch(epoch)
            if settings is not None:  # which `set_epoch` has forgotten
                data.settings_epoch = settings


def _epochs(data):
    return getattr(data, "epoch", None), getattr(data, "settings_epoch", None)
