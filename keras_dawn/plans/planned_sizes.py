"""Whether data has the image size and the batch size that its phase plans."""

from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.unmade import Unmade
from keras_dawn.distributed import sharding
from keras_dawn.distributed.ranks import current

import keras
import numpy as np
import torch
from torch.utils.data import DataLoader


class PlannedSizes:
    """Checks the data of one phase when it is made, and its first batches when they come.

    Images are tensors of four axes, in either order of Keras's. What has none, and what Keras
    makes batches of by the phase's own batch size, is taken as it is.

    Args:
        phase: `Phase`.
        training: bool, whether it is trained on: only of that is a batch size planned.
    """

    def __init__(self, phase, training):
        self._phase, self._training = phase, training
        self._by_counting = training  # whether the size of a batch is known from that alone
        self._checked = False

    def check_made(self, made):
        """Checks the batch size that a torch `DataLoader` was made with.

        Raises:
            ValueError: another one than the phase's.
        """
        if self._training and isinstance(made, DataLoader) and made.batch_size is not None:
            # A `DistributedSampler` serves a loader of each rank's own batches.
            ranks = current().world_size if sharding.sampler_of(made) is not None else 1
            self._check_count(made.batch_size * ranks)
            self._by_counting = False

    def checked(self, batches):
        """The batches of a pass, of which the first ones are looked at.

        Raises:
            ValueError: images of another size than the phase's, or other batches.
        """
        smaller = None
        for batch in batches:
            if not self._checked:
                if smaller:  # and not the last
                    self._check_count(smaller)
                smaller = self._look_at(batch)
                self._checked = smaller is None
            yield batch

    def _look_at(self, batch):
        """Checks a batch; returns its size if it is smaller than planned, as the last may be."""
        images = _images_in(batch.made() if isinstance(batch, Unmade) else batch)
        self._check_size(images)
        if not images or not self._by_counting or current().several:
            return None
        count, planned = len(images[0]), self._phase.batch_size
        self._check_count(max(count, planned))
        return count if count < planned else None

    def _check_count(self, count):
        planned = self._phase.batch_size
        if count != planned:
            raise ValueError(
                f"The data comes in batches of {count}, and the plan has {planned} here "
                f"({_named(self._phase)}). Make it with phase.batch_size, or plan {count}."
            )

    def _check_size(self, images):
        phase = self._phase
        if not images or (not self._training and phase.validation.rectangular):
            return
        planned = phase.image_size if self._training else phase.evaluated_at
        # Of rectangles the short side, as of `Crops.copies`.
        if any(min(size) == planned for image in images for size in _sizes(image)):
            return
        size = " × ".join(map(str, _sizes(images[0])[0]))
        what, name, instead = (
            ("The data", "phase.image_size", f"image_size={min(_sizes(images[0])[0])}")
            if self._training
            else ("The validation data", "phase.evaluated_at",
                  f"validation={min(_sizes(images[0])[0])} in the phase")
        )  # fmt: skip
        raise ValueError(
            f"{what} has images of {size} px, and the plan has {planned} px here "
            f"({_named(phase)}). Make it with {name}, or plan {instead}."
        )


def size_of(data):
    """Pixels of the short side of what `fit` was given to validate on, or `None` if not known.

    Args:
        data: arrays `(images, …)`, data of this package, or other data, which is not asked.
    """
    first = data[0] if isinstance(data, (tuple, list)) and data else None
    if isinstance(first, (np.ndarray, torch.Tensor)):
        return min(_sizes(first)[0]) if len(first.shape) == 4 else None
    own = getattr(data, "image_size", None)
    if isinstance(own, (int, tuple)):
        return own if isinstance(own, int) else min(own)
    images, transforms = getattr(data, "images", None), getattr(data, "transforms", None)
    if not isinstance(images, torch.Tensor) or not isinstance(transforms, Pipeline):
        return None
    size = tuple(images.shape[1:3])
    for transform in transforms.by_epoch[0]:
        if not hasattr(transform, "size_after"):  # the user's or torchvision's
            return None
        size = transform.size_after(size, 0)
    return min(size)


def _images_in(batch):
    inputs = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    leaves = keras.tree.flatten(inputs)
    return [leaf for leaf in leaves if len(getattr(leaf, "shape", ())) == 4]


def _sizes(images):
    """`(height, width)` if channels are last, and if they are first; Keras's order first."""
    shape = tuple(map(int, images.shape))
    last, first = shape[1:3], shape[2:4]
    return (first, last) if keras.config.image_data_format() == "channels_first" else (last, first)


def _named(phase):
    return f"the phase of {phase.epochs} × {phase.image_size} px, batches of {phase.batch_size}"
