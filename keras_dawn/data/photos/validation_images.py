"""Photos for `evaluate`, at one size or in rectangles."""

import numbers

from keras_dawn.data.mixing import CutMix, MixUp
from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.data.photos.crops import CenterCrop, rectangle
from keras_dawn.data.photos.loader import Job
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.photos.photo_data import PhotoData, check_size, height_and_width
from keras_dawn.data.photos.unreadable import UnreadablePhotoError, listed
from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.samplers import InOrder
from keras_dawn.data.source_labels import has_several_labels
from keras_dawn.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Normalize
from keras_dawn.foundation.device import moved

import torch

_MOST_RATIO = 4  # of a rectangle: one banner would make its whole batch as long


class ValidationImages(PhotoData):
    """Photos to evaluate on: centre crops at one size, or rectangles near each photo's shape.

    Args:
        source: as for `ResizingImages`; photos that cannot be read are left out, also where it says
            that they are to be grey.
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
        `(images, labels)`: float32 `(batch, height, width, 3)` and int64 `(batch,)`. A batch of
        which nothing can be read is left out, and another one comes in two.

    Raises:
        ValueError: sizes or transforms that do not fit.
        UnreadablePhotoError: on iteration, where none of the photos can be read, or more cannot
            than the source allows.
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
        if len(pipeline.crops) > 1:
            raise ValueError(
                "Validation does not change with the epoch: `transforms` must be one list, got a "
                f"dict from epochs {sorted(pipeline.crops)}."
            )
        if pipeline.crops[0].DRAWS:
            raise ValueError(f"Validation takes CenterCrop, got {pipeline.crops[0]!r}.")
        if mixing := pipeline.of((MixUp, CutMix)):
            raise ValueError(
                f"Validation takes no {type(mixing[0]).__name__}: answers would be about mixed "
                "images. Give it the list without."
            )
        super().__init__(source, batch_size, pipeline, InOrder(), False, threads, device)
        self._loader.problems.left_out = True  # an answer about a grey square would be counted

    def __iter__(self):
        order, ratios, bounds = torch.arange(len(self.source)), None, self._bounds()
        self.places = places = []
        if self.rectangular:
            ratios = self._aspect_ratios()
            order = ratios.argsort(stable=True)
        jobs = (self._job(order[start:stop], ratios) for start, stop in bounds)
        parts = (self.share.of(order[start:stop]) for start, stop in bounds)
        for number, images, labels, part, last in self._as_many(jobs, parts):
            places += part.tolist()
            if (ranks := self.share.world_size) > 1:
                start, stop = bounds[number]
                self.rank_weight = len(part) * ranks / (stop - start)
            if last:  # before the last `yield`: Keras does not come back
                self._loader.problems.warn()
            random = PerImageRandom(0, 0, moved(part, images.device))
            entropy = [self.sampler.seed, 0, number, self.share.rank]
            yield self.transforms(images, labels, random, entropy)

    def _as_many(self, jobs, parts):
        """The batches that were read: number, images, labels, places, whether it is the last.

        Keras expects as many as there are bounds: for a batch of which nothing can be read, single
        photos are taken off the end of another one, as far as it has several.
        """
        held, owed = None, 0
        for number, batch in enumerate(self._loader.batches(jobs, may_be_empty=True)):
            part = next(parts)
            part = part if batch.places is None else part[batch.places]
            if not len(part):
                owed += 1
                continue
            if held is not None:
                pieces = _cut(held, owed)
                owed -= len(pieces) - 1
                yield from ((*piece, False) for piece in pieces)
            held = number, batch.images, batch.labels, part
        if held is None:
            raise UnreadablePhotoError(
                f"None of the photos can be read: {listed(self.problems)}. Mend them, or take "
                "another source."
            )
        *pieces, last = _cut(held, owed)
        yield from ((*piece, False) for piece in pieces)
        yield *last, True

    def _job(self, batch, ratios):
        size = height_and_width(self.image_size)
        if ratios is not None:  # of the whole batch: the same shape on all ranks
            size = rectangle(self.image_size, float(ratios[batch].mean()))
        part = self.share.of(batch)
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


def _cut(batch, more):
    """A batch as one and up to `more` others of a photo each, from its end."""
    number, images, labels, part = batch
    size = max(len(part) - more, 1)
    sizes = [size] + [1] * (len(part) - size)
    pieces = (tensor.split(sizes) for tensor in (images, labels, part))
    return [(number, *piece) for piece in zip(*pieces, strict=True)]
