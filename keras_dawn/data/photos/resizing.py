"""Photos for `fit` and `evaluate`, decoded at the size of the epoch."""

import numbers

from keras_dawn.data.augment import RandomFlip
from keras_dawn.data.by_epoch import at_epoch, by_epoch
from keras_dawn.data.order import epoch_order
from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.data.photos.crops import CenterCrop, RandomResizedCrop, rectangle
from keras_dawn.data.photos.jpeg import read_header
from keras_dawn.data.photos.loader import Job, Loader, default_device, default_threads
from keras_dawn.distributed.sharding import Share

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class _Photos(DataLoader):
    """What training and validation share: a loader, a rank's share, normalised batches."""

    def __init__(self, source, batch_size, mean, std, threads, prefetch, device, training):
        if not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"`batch_size` must be a whole number from 1 up, got {batch_size!r}.")
        if len(source) == 0:
            raise ValueError("The source holds no images.")
        self.source = source
        device = default_device() if device is None else torch.device(device)
        self._loader = Loader(source, threads or default_threads(), prefetch, device)
        self._mean = 255 * torch.tensor(mean, device=device)
        self._scale = 1 / (255 * torch.tensor(std, device=device))
        self.rank_weight = 1.0
        super().__init__(TensorDataset(torch.zeros(len(source))), batch_size=batch_size)
        self.set_share(Share(), training)

    def set_share(self, share, training):
        """Serves one rank's share of each batch from now on (`distributed.sharding.Share`)."""
        self._share = share
        self._bounds = share.batches(
            len(self.source), self.batch_size, getattr(self, "_drop_last", False), training
        )

    def __len__(self):
        return len(self._bounds)

    @property
    def problems(self):
        """What was wrong with files so far: dict from their names to sentences."""
        found = sorted(self._loader.problems.items())
        return {self.source.name(index): problem for index, problem in found}

    def _normalized(self, images):
        return (images.to(torch.float32) - self._mean) * self._scale


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
        crop: `RandomResizedCrop`, or a dict from epochs to such.
        flip: bool, whether half the images are mirrored left to right.
        classes: int; labels are then one-hot, float32 `(batch, classes)`, as label smoothing
            and mixing need them.
        mix: `MixUp` or `CutMix` (`keras_dawn.data`), which needs `classes`.
        shuffle, drop_last: bool.
        mean, std: floats per channel on the scale [0, 1]; by default ImageNet's.
        seed: int.
        threads: int, decoding threads; by default one for each core of this process.
        prefetch: int, batches that are made ahead.
        device: torch device; by default the first GPU, else the CPU.

    Yields:
        `(images, labels)`: float32 `(batch, size, size, 3)` and int64 `(batch,)`.

    Raises:
        ValueError: sizes that do not fit.

    Example:
        >>> photos = ResizingImages(                                    # doctest: +SKIP
        ...     ImageFolder("imagenet/train"), 256, image_size={0: 128, 18: 224})
        >>> model.fit(photos, epochs=45, shuffle=False)                 # doctest: +SKIP
    """

    def __init__(
        self,
        source,
        batch_size,
        *,
        image_size,
        crop=None,
        flip=True,
        classes=None,
        mix=None,
        shuffle=True,
        drop_last=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        seed=0,
        threads=None,
        prefetch=3,
        device=None,
    ):
        self.image_size = by_epoch(image_size, "image_size", _check_size)
        self.crop = by_epoch(crop or RandomResizedCrop(), "crop", lambda value: None)
        self.shuffle, self.seed = shuffle, seed
        self.epoch = 0
        self._flip = RandomFlip() if flip else None
        if mix is not None and classes is None:
            raise ValueError("`mix` needs `classes`: mixed labels are no class numbers.")
        self.classes, self.mix = classes, mix
        self._drop_last = drop_last
        super().__init__(source, batch_size, mean, std, threads, prefetch, device, training=True)
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
        crop = at_epoch(self.crop, epoch)
        order = epoch_order(len(self.source), self.seed, epoch, self.shuffle)
        parts = [self._share.of(order[start:stop]) for start, stop in self._bounds]
        made = self._loader.batches(self._job(part, epoch, size, crop) for part in parts)
        for number, (images, labels) in enumerate(made):
            start, stop = self._bounds[number]
            self.rank_weight = self._share.weight(stop - start)
            if number == len(parts) - 1:
                self.epoch = epoch + 1  # before the last `yield`: Keras does not come back
            images = self._augmented(images, parts[number], epoch)
            yield self._mixed(images, _one_hot(labels, self.classes), epoch, number)

    def _job(self, part, epoch, size, crop):
        random = PerImageRandom(self.seed, epoch, part)
        draws = torch.stack([random.uniform() for _ in range(crop.DRAWS)], 1)
        return Job(part.tolist(), (size, size), crop, draws)

    def _augmented(self, images, part, epoch):
        if self._flip is not None:
            # Other numbers than the crop's: a seed of their own.
            random = PerImageRandom(self.seed + 1, epoch, part.to(images.device))
            images = self._flip(images, random)
        return self._normalized(images)

    def _mixed(self, images, labels, epoch, number):
        if self.mix is None:
            return images, labels
        return self.mix(images, labels, [self.seed, epoch, number, self._share.rank])


class ValidationImages(_Photos):
    """Photos to evaluate on: centre crops at one size, or rectangles near each photo's shape.

    Args:
        source: as for `ResizingImages`.
        batch_size: int, images over all ranks.
        image_size: int pixels; the short side of rectangles. Report it beside the accuracy.
        rectangular: bool. Photos are sorted by aspect ratio, and each batch gets the shape of
            its mean, in multiples of 8 (imagenet18, 2018): less of a photo is cut away. The
            header of every file is read once for it.
        resize_ratio: float, see `CenterCrop`.
        classes: int; labels are then one-hot, float32 `(batch, classes)`.
        mean, std, threads, prefetch, device: as for `ResizingImages`.

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
        resize_ratio=1.14,
        classes=None,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        threads=None,
        prefetch=3,
        device=None,
    ):
        _check_size(image_size)
        self.image_size, self.rectangular = image_size, rectangular
        self._crop, self.classes = CenterCrop(resize_ratio), classes
        self._ratios = None
        super().__init__(source, batch_size, mean, std, threads, prefetch, device, training=False)

    def __iter__(self):
        order, ratios = torch.arange(len(self.source)), None
        if self.rectangular:
            ratios = self._aspect_ratios()
            order = ratios.argsort(stable=True)
        jobs = (self._job(order[start:stop], ratios) for start, stop in self._bounds)
        for images, labels in self._loader.batches(jobs):
            yield self._normalized(images), _one_hot(labels, self.classes)

    def _job(self, batch, ratios):
        size = (self.image_size, self.image_size)
        if ratios is not None:  # of the whole batch: the same shape on all ranks
            size = rectangle(self.image_size, float(ratios[batch].mean()))
        part = self._share.of(batch)
        return Job(part.tolist(), size, self._crop, torch.zeros(len(part), 0))

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


def _one_hot(labels, classes):
    return labels if classes is None else F.one_hot(labels, classes).float()


def _check_size(size):
    if not isinstance(size, numbers.Integral) or size < 8:
        raise ValueError(f"`image_size` must be a whole number of pixels from 8 up, got {size!r}.")
