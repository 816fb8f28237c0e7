"""Photos for `evaluate`, at one size or in rectangles."""

import numbers

from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.data.photos.crops import CenterCrop, rectangle
from keras_dawn.data.photos.loader import Job
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.photos.photo_data import (
    PhotoData,
    check_size,
    has_several_labels,
    height_and_width,
)
from keras_dawn.data.photos.unreadable import UnreadablePhotoError
from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.samplers import InOrder
from keras_dawn.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Normalize
from keras_dawn.foundation.device import moved

import torch

_MOST_RATIO = 4  # of a rectangle: one banner would make its whole batch as long


class ValidationImages(PhotoData):
    """Photos to evaluate on: centre crops at one size, or rectangles near each photo's shape.

    Args:
        source: as for `ResizingImages`.
        batch_size: int, images over all ranks.
        image_size: int pixels, or `(height, width)`; the short side of rectangles. Report
            it beside the accuracy.
        rectangular: bool. Photos are sorted by aspect ratio, and each batch gets the shape of
            its mean, in multiples of 8 (imagenet18, 2018): less of a photo is cut away. A side
            is at most 4 times the other. The header of every file is read once for it.
        transforms: list, as for `ResizingImages`: by default the crop is `CenterCrop(1.14)` and
            pixels are normalised by ImageNet's mean and standard deviation.
        threads, device: as for `ResizingImages`.

    Attributes:
        places: list of int, the places in the source of the photos that the last pass has served,
            in its order: without those that cannot be read, and on several ranks this rank's.

    Yields:
        `(images, labels)`: float32 `(batch, height, width, 3)` and int64 `(batch,)`.
    """

    def __init__(
        self,
        source,
        batch_size,
        *,
        image_size,
        rectangular=False,
        transforms=(),
        threads=None,
        device=None,
    ):
        check_size(image_size)
        if rectangular and not isinstance(image_size, numbers.Integral):
            raise ValueError(
                "With rectangular=True, `image_size` must be one number, the short side; got "
                f"{image_size!r}."
            )
        self.image_size, self.rectangular = image_size, rectangular
        self._ratios, self.places = None, []
        normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        pipeline = Pipeline(transforms, normalize, CenterCrop(), has_several_labels(source))
        if pipeline.crops[0].DRAWS:
            raise ValueError(f"Validation takes CenterCrop, got {pipeline.crops[0]!r}.")
        super().__init__(source, batch_size, pipeline, InOrder(), False, threads, device)

    def __iter__(self):
        order, ratios = torch.arange(len(self.source)), None
        self.places = places = []
        if self.rectangular:
            ratios = self._aspect_ratios()
            order = ratios.argsort(stable=True)
        jobs = (self._job(order[start:stop], ratios) for start, stop in self._bounds)
        for number, batch in enumerate(self._loader.batches(jobs)):
            start, stop = self._bounds[number]
            part = self._share.of(order[start:stop])
            if batch.places is not None:
                part = part[batch.places]
            places += part.tolist()
            if number == len(self._bounds) - 1:
                self._loader.problems.warn()
            random = PerImageRandom(0, 0, moved(part, batch.images.device))
            entropy = [self.sampler.seed, 0, number, self._share.rank]
            yield self.transforms(batch.images, batch.labels, random, entropy)

    def _job(self, batch, ratios):
        size = height_and_width(self.image_size)
        if ratios is not None:  # of the whole batch: the same shape on all ranks
            size = rectangle(self.image_size, float(ratios[batch].mean()))
        part = self._share.of(batch)
        crop = self.transforms.crops[0]
        return Job(part.tolist(), size, crop, torch.zeros(len(part), crop.DRAWS))

    def _aspect_ratios(self):
        """Width over height of every photo, float64 `(count,)`."""
        if self._ratios is None:
            ratios = []
            for index in range(len(self.source)):
                try:
                    photo = read_header(self.source[index][0])
                    ratio = photo.width / photo.height
                    ratios.append(min(max(ratio, 1 / _MOST_RATIO), _MOST_RATIO))
                except UnreadablePhotoError:
                    ratios.append(1.0)
            self._ratios = torch.tensor(ratios, dtype=torch.float64)
        return self._ratios
