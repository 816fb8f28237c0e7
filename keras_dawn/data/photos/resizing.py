"""Photos for `fit` and `evaluate`, decoded at the size of the epoch."""

import numbers

from keras_dawn.data.augment import RandomFlip
from keras_dawn.data.by_epoch import at_epoch, by_epoch
from keras_dawn.data.labels import OneHot
from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.data.photos.crops import CenterCrop, RandomResizedCrop, rectangle
from keras_dawn.data.photos.loader import Job, Loader, default_device, default_threads
from keras_dawn.data.photos.photo import read_header
from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.samplers import InOrder, Shuffled
from keras_dawn.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Normalize
from keras_dawn.distributed.sharding import Share

import torch
from torch.utils.data import DataLoader, TensorDataset

_AHEAD = 3  # batches in the making: one being decoded, one copied, one to spare


class _Photos(DataLoader):
    """What training and validation have in common: a loader, a rank's share, transforms."""

    def __init__(self, source, batch_size, pipeline, sampler, drop_last, threads, device):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` must be a whole number from 1 up, got {batch_size!r}.")
        if len(source) == 0:
            raise ValueError("The source holds no images.")
        for normalize in pipeline.of(Normalize):
            normalize.check_channels(3)
        for one_hot in pipeline.of(OneHot):
            one_hot.check_highest(len(getattr(source, "class_names", ())) - 1)
        self.source, self.transforms = source, pipeline
        device = default_device() if device is None else torch.device(device)
        self._loader = Loader(source, threads or default_threads(), _AHEAD, device)
        self.rank_weight = 1.0
        super().__init__(
            TensorDataset(torch.zeros(len(source))),
            batch_size=batch_size,
            drop_last=drop_last,
            sampler=sampler,
        )
        self.set_share(Share(), training=False)

    def set_share(self, share, training):
        """Serves one rank's share of each batch from now on (`distributed.sharding.Share`)."""
        self.sampler.check(len(self.source), share.world_size)
        served = self.sampler.served(len(self.source))
        self._share = share
        self._bounds = share.batches(served, self.batch_size, self.drop_last, training)

    def __len__(self):
        return len(self._bounds)

    @property
    def problems(self):
        """What was wrong with files so far: dict from their names to sentences."""
        return self._loader.problems.by_name()


class ResizingImages(_Photos):
    """Photos to train on: random crops, decoded at the size that the epoch asks for.

    All batches of an epoch have that epoch's size, however many threads decode: a batch is
    made from (seed, epoch, place) alone, also its order, crops and flips. Being a torch
    `DataLoader` it goes into `fit` (with `shuffle=False`: it shuffles itself). An accelerated
    model's `fit` tells it the epoch; elsewhere it counts its own passes from 0, and
    `set_epoch` sets them.

    Args:
        source: `ImageFolder`, `PreparedImages`, … : `source[i]` is `(bytes, class number)`.
        batch_size: int, images over all ranks.
        image_size: int pixels, or dict from the first epoch (0-based) of a size to the size,
            such as `{0: 128, 18: 224, 41: 288}`.
        transforms: list, applied in its order, or dict from the first epoch of each list to it;
            by default `[RandomFlip()]`. The crop comes first, `RandomResizedCrop()` if the list
            has none; the rest is what `keras_dawn.data` has for arrays too. Without a `Normalize`
            pixels are normalised by ImageNet's mean and standard deviation.
        sampler: `Shuffled()` by default; `Shuffled(seed)`, `InOrder`, `Hardest`.
        drop_last: bool, whether to leave out a last batch that is not full.
        threads: int, decoding threads; by default one for each core of this process.
        device: torch device; by default the first GPU, else the CPU.

    Yields:
        `(images, labels)`: float32 `(batch, size, size, 3)` and int64 `(batch,)`, or with
        `OneHot` float32 `(batch, classes)`.

    Raises:
        ValueError: sizes or transforms that do not fit.

    Example:
        >>> photos = ResizingImages(                                    # doctest: +SKIP
        ...     ImageFolder("imagenet/train"), 256, image_size={0: 128, 18: 224},
        ...     transforms=[RandomResizedCrop((0.35, 1.0)), RandomFlip()])
        >>> model.fit(photos, epochs=45, shuffle=False)                 # doctest: +SKIP
    """

    def __init__(
        self,
        source,
        batch_size,
        *,
        image_size,
        transforms=None,
        sampler=None,
        drop_last=True,
        threads=None,
        device=None,
    ):
        self.image_size = by_epoch(image_size, "image_size", _check_size)
        self.epoch = 0
        pipeline = Pipeline(
            [RandomFlip()] if transforms is None else transforms,
            Normalize(IMAGENET_MEAN, IMAGENET_STD),
            RandomResizedCrop(),
        )
        super().__init__(
            source, batch_size, pipeline, sampler or Shuffled(), drop_last, threads, device
        )
        if not len(self):
            raise ValueError(
                f"No batch of {batch_size} can be made of {len(source)} images with drop_last=True."
            )

    def set_epoch(self, epoch):
        """Makes the next pass that of `epoch` (0-based); the name torch's samplers use."""
        self.epoch = int(epoch)

    def __iter__(self):
        epoch = self.epoch
        size = at_epoch(self.image_size, epoch)
        crop = at_epoch(self.transforms.crops, epoch)
        order = self.sampler.order(len(self.source), epoch).cpu()
        parts = [self._share.of(order[start:stop]) for start, stop in self._bounds]
        made = self._loader.batches(self._job(part, epoch, size, crop) for part in parts)
        for number, batch in enumerate(made):
            start, stop = self._bounds[number]
            part = parts[number]
            self.rank_weight = self._share.weight(stop - start)
            if batch.places is not None:
                part = part[batch.places]
                if self._share.world_size > 1:  # as if their weight were 0
                    self.rank_weight *= len(part) / len(parts[number])
            if number == len(parts) - 1:  # before the last `yield`: Keras does not come back
                self.epoch = epoch + 1
                self._loader.problems.warn()
            yield self._transformed(batch.images, batch.labels, part, epoch, number)

    def _job(self, part, epoch, size, crop):
        random = PerImageRandom(self.sampler.seed, epoch, part)
        draws = torch.stack([random.uniform() for _ in range(crop.DRAWS)], 1)
        return Job(part.tolist(), (size, size), crop, draws)

    def _transformed(self, images, labels, part, epoch, number):
        part, seed = part.to(images.device), self.sampler.seed
        self.sampler.expect(part)
        # Other numbers than the crop's: a seed of their own.
        random = PerImageRandom(seed + 1, epoch, part)
        return self.transforms(images, labels, random, [seed, epoch, number, self._share.rank])


class ValidationImages(_Photos):
    """Photos to evaluate on: centre crops at one size, or rectangles near each photo's shape.

    Args:
        source: as for `ResizingImages`.
        batch_size: int, images over all ranks.
        image_size: int pixels; the short side of rectangles. Report it beside the accuracy.
        rectangular: bool. Photos are sorted by aspect ratio, and each batch gets the shape of
            its mean, in multiples of 8 (imagenet18, 2018): less of a photo is cut away. The
            header of every file is read once for it.
        transforms: list, as for `ResizingImages`: by default the crop is `CenterCrop(1.14)` and
            pixels are normalised by ImageNet's mean and standard deviation.
        threads, device: as for `ResizingImages`.

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
        _check_size(image_size)
        self.image_size, self.rectangular = image_size, rectangular
        self._ratios = None
        normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
        pipeline = Pipeline(transforms, normalize, CenterCrop())
        if pipeline.crops[0].DRAWS:
            raise ValueError(f"Validation takes CenterCrop, got {pipeline.crops[0]!r}.")
        super().__init__(source, batch_size, pipeline, InOrder(), False, threads, device)

    def __iter__(self):
        order, ratios = torch.arange(len(self.source)), None
        if self.rectangular:
            ratios = self._aspect_ratios()
            order = ratios.argsort(stable=True)
        jobs = (self._job(order[start:stop], ratios) for start, stop in self._bounds)
        for number, batch in enumerate(self._loader.batches(jobs)):
            start, stop = self._bounds[number]
            part = self._share.of(order[start:stop])
            if batch.places is not None:
                part = part[batch.places]
            if number == len(self._bounds) - 1:
                self._loader.problems.warn()
            random = PerImageRandom(0, 0, part.to(batch.images.device))
            entropy = [self.sampler.seed, 0, number, self._share.rank]
            yield self.transforms(batch.images, batch.labels, random, entropy)

    def _job(self, batch, ratios):
        size = (self.image_size, self.image_size)
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
                    ratios.append(photo.width / photo.height)
                except ValueError:
                    ratios.append(1.0)
            self._ratios = torch.tensor(ratios, dtype=torch.float64)
        return self._ratios


def _check_size(size):
    if not isinstance(size, numbers.Integral) or size < 8:
        raise ValueError(f"`image_size` must be a whole number of pixels from 8 up, got {size!r}.")
