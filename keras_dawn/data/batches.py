"""Batches of images from whatever holds them."""

from keras_dawn.distributed import sharding

import keras
import numpy as np
import torch


class Batches:
    """Batches of `(images, labels)` as tensors, from arrays or from data for `fit`.

    Going through data that counts epochs leaves its epoch as it was. Data that a `fit` has shared
    out to several ranks serves all of it here.

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
        labels = None if self.y is None else torch.as_tensor(self.y)
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield images[part], None if labels is None else labels[part]

    def _of_data(self):
        epoch = getattr(self.x, "epoch", None)
        try:
            with sharding.all_served(self.x):
                for batch in self.x:
                    # A sampler's weights come as the third; they do not matter for an answer.
                    images, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
                    labels = None if labels is None else torch.as_tensor(labels)
                    yield torch.as_tensor(images), labels
        finally:
            if epoch is not None:
                self.x.set_epoch(epoch)
