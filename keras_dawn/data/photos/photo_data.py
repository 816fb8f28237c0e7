"""What training and validation on photos have in common: a loader, a rank's share, sizes."""

import numbers
import os

from keras_dawn.data.colors import Grayscale
from keras_dawn.data.labels import OneHot
from keras_dawn.data.photos.loader import Loader, default_threads
from keras_dawn.data.shared_batches import SharedBatches
from keras_dawn.data.source_labels import held_labels
from keras_dawn.data.transforms import Normalize
from keras_dawn.distributed.sharding import Share
from keras_dawn.foundation.data_content import digest_of
from keras_dawn.foundation.device import default_device

import torch
from torch.utils.data import TensorDataset

_AHEAD = 3  # batches in the making: one being decoded, one copied, one to spare
_NAMED = 1024  # photos whose names tell a source from another


class PhotoData(SharedBatches):
    """Photos of a source as data for `fit` and `evaluate`."""

    def __init__(self, source, batch_size, pipeline, sampler, drop_last, threads, device):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` must be a whole number from 1 up, got {batch_size!r}.")
        if isinstance(source, (str, os.PathLike)):
            raise ValueError(
                f"Expected a source of photos, got the path {str(source)!r}: pass "
                f"ImageFolder({str(source)!r}), or another source."
            )
        if len(source) == 0:
            raise ValueError("The source holds no images.")
        for normalize in pipeline.of(Normalize):
            normalize.check_channels(1 if pipeline.of(Grayscale) else 3)
        for one_hot in pipeline.of(OneHot):
            one_hot.check_labels(0, len(getattr(source, "class_names", ())) - 1)
        self.source, self.transforms = source, pipeline
        device = default_device() if device is None else torch.device(device)
        self._loader = Loader(source, threads or default_threads(), _AHEAD, device)
        self.rank_weight = 1.0
        # torch's loader is told a set of as many places: it is never read, but Keras looks at it.
        super().__init__(
            TensorDataset(torch.zeros(len(source))),
            batch_size=batch_size,
            drop_last=drop_last,
            sampler=sampler,
        )
        self.set_share(Share(), training=False)

    def fingerprint(self):
        """What tells this data from other: its photos, labels, weights, seed and batches."""
        source, sampler = self.source, self.sampler
        settings = len(source), sampler.seed, self.batch_size, self.drop_last
        places = range(0, len(source), 1 + len(source) // _NAMED) if hasattr(source, "name") else ()
        names = [source.name(place) for place in places]
        return digest_of(held_labels(source), names, sampler.weights, settings)

    def __repr__(self):
        size = self.image_size
        sizes = size.values() if isinstance(size, dict) else [size]
        sides = [" × ".join(map(str, dict.fromkeys(height_and_width(one)))) for one in sizes]
        return (
            f"{type(self).__name__}({len(self.source):,} photos, batches of {self.batch_size}, "
            f"{', then '.join(sides)} px, {self.transforms})"
        )

    @property
    def class_names(self):
        """The source's classes in the order of their numbers, or `None` if it has no names."""
        return getattr(self.source, "class_names", None)

    @property
    def problems(self):
        """What was wrong with files so far: dict from their names to sentences."""
        return self._loader.problems.by_name()


def height_and_width(size):
    """`(height, width)` of an `image_size`."""
    return (size, size) if isinstance(size, numbers.Integral) else tuple(size)


def check_size(size):
    """Raises `ValueError` unless it is an `image_size`."""
    sides = size if isinstance(size, (tuple, list)) and len(size) == 2 else (size,)
    if not all(isinstance(side, numbers.Integral) and side >= 8 for side in sides):
        raise ValueError(
            "`image_size` must be a whole number of pixels from 8 up, or (height, width), got "
            f"{size!r}."
        )
