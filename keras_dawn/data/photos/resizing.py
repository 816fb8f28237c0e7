"""Photos for `fit`, decoded at the size of the epoch."""

import functools

from keras_dawn.data.augment import RandomFlip
from keras_dawn.data.by_epoch import at_epoch, by_epoch
from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.data.photos.crops import RandomResizedCrop
from keras_dawn.data.photos.loader import Job
from keras_dawn.data.photos.photo_data import PhotoData, check_size, height_and_width
from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.samplers import Shuffled, check_has_batches
from keras_dawn.data.source_labels import has_several_labels
from keras_dawn.data.transforms import IMAGENET_MEAN, IMAGENET_STD, Normalize
from keras_dawn.data.unmade import Describer, tells_nobody
from keras_dawn.foundation.device import moved

import torch


class ResizingImages(PhotoData):
    """Photos to train on: random crops, decoded at the size that the epoch asks for.

    All batches of an epoch have that epoch's size, however many threads decode: a batch is
    made from (seed, epoch, place) alone, also its order, crops and flips. Being a torch
    `DataLoader` it goes into `fit` (with `shuffle=False`: it shuffles itself). An accelerated
    model's `fit` tells it the epoch, and `evaluate` and `predict` leave it; elsewhere it counts its
    own passes from 0, and `set_epoch` sets them. Where that `fit` has `steps_per_epoch`, order and
    random numbers are those of the pass over the data, and size, crop and transforms are those of
    the `fit`'s epoch (`settings_epoch`, which `set_epoch` sets back to `None`: that of the pass).
    So they are where it validates on them, at random crops; `ValidationImages` is for that, which a
    warning says.

    Args:
        source: `ImageFolder`, `PreparedImages`, … : `source[i]` is `(bytes, class number)`.
        batch_size: int, images over all ranks.
        image_size: int pixels, or `(height, width)`; or dict from the first epoch (0-based) of a
            size to the size, such as `{0: 128, 18: 224, 41: 288}`.
        transforms: list, applied in its order, or dict from the first epoch of each list to it;
            by default `[RandomFlip()]`. The crop comes first, `RandomResizedCrop()` if the list
            has none; the rest is what `keras_dawn.data` has for arrays too. Without a `Normalize`
            pixels are normalised by ImageNet's mean and standard deviation.
        sampler: `Shuffled()` by default; `Shuffled(seed)`, `InOrder`, `Balanced`, `Hardest`. It has
            weights too.
        drop_last: bool, whether to leave out a last batch that is not full.
        threads: int, decoding threads; by default one for each core of this process.
        device: torch device; by default the first GPU, else the CPU.

    Yields:
        `(images, labels)`: float32 `(batch, size, size, 3)` and int64 `(batch,)`, or with
        `OneHot` float32 `(batch, classes)`; and with a sampler's weights `(images, labels,
        weights)`, float32 `(batch,)`.

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
        self.image_size = by_epoch(image_size, "image_size", check_size)
        self.epoch, self.settings_epoch = 0, None
        pipeline = Pipeline(
            [RandomFlip()] if transforms is None else transforms,
            Normalize(IMAGENET_MEAN, IMAGENET_STD),
            RandomResizedCrop(),
            has_several_labels(source),
        )
        super().__init__(
            source, batch_size, pipeline, sampler or Shuffled(), drop_last, threads, device
        )
        check_has_batches(self, self.sampler.served(len(source)))

    def set_epoch(self, epoch):
        """Makes the next pass that of `epoch` (0-based); the name torch's samplers use."""
        self.epoch, self.settings_epoch = int(epoch), None

    def settings_at(self, epoch):
        """What an epoch looks like, to compare with another's."""
        return self._size_and_crop(epoch), self.transforms.settings_at(epoch)

    def __iter__(self):
        for portion in self._portions():
            yield self._made(*portion)

    def unmade(self, wanted):
        """The same, but for batches that come as `Unmade`; see `DeviceImages.unmade`.

        Decoded they are.
        """
        if type(self) is not ResizingImages or not tells_nobody(self.sampler):
            yield from self
            return
        count = len(self.source)

        def transformed(read, batch, epoch, settings, entropy, numbers):
            images, labels, part = batch
            random = _random(read.seed, epoch, part, settings)
            weights = read.weights_of(part % count)
            return read.transforms(images, labels, random, entropy, weights, numbers)

        describe = Describer(self, self._loader.device, transformed)
        for images, labels, part, epoch, number in self._portions():
            made = functools.partial(self._made, images, labels, part, epoch, number)
            if wanted():
                tensors = [images, labels, moved(part, images.device)]
                size = tuple(images.shape[1:3])
                yield describe(tensors, self._entropy(epoch, number), size, made)
            else:
                yield made()

    def _portions(self):
        """Of each batch of a pass: images, labels, its part of the order, epoch and number."""
        epoch = self.epoch
        order = self.sampler.order(len(self.source), epoch).cpu()
        bounds = self._bounds()
        parts = [self.share.of(order[start:stop]) for start, stop in bounds]
        for number, batch in enumerate(self._decoded(parts, epoch)):
            start, stop = bounds[number]
            part = parts[number]
            self.rank_weight = self.share.weight(stop - start)
            if batch.places is not None:
                part = part[batch.places]
                if self.share.world_size > 1:  # as if their weight were 0
                    self.rank_weight *= len(part) / len(parts[number])
            if number == len(parts) - 1:  # before the last `yield`: Keras does not come back
                self.epoch = epoch + 1
                self._loader.problems.warn()
            yield batch.images, batch.labels, part, epoch, number

    def _decoded(self, parts, epoch):
        """Decoded batches, begun anew where the settings change before the pass has ended."""
        done = 0
        while done < len(parts):
            settings = self._settings(epoch)
            made = self._loader.batches(self._job(part, epoch, *settings) for part in parts[done:])
            while done < len(parts) and self._settings(epoch) == settings:
                yield next(made)
                done += 1
            made.close()  # what was decoded ahead has another size

    def _settings(self, epoch):
        """The size and the crop of the next batch."""
        return self._size_and_crop(epoch if self.settings_epoch is None else self.settings_epoch)

    def _size_and_crop(self, epoch):
        return at_epoch(self.image_size, epoch), at_epoch(self.transforms.crops, epoch)

    def _job(self, part, epoch, size, crop):
        random = PerImageRandom(self.sampler.seed, epoch, part)
        draws = torch.empty(len(part), crop.DRAWS)  # none for a crop that always is the same
        for number in range(crop.DRAWS):
            draws[:, number] = random.uniform()
        return Job((part % len(self.source)).tolist(), height_and_width(size), crop, draws)

    def _made(self, images, labels, part, epoch, number):
        part = moved(part, images.device)
        random = _random(self.sampler.seed, epoch, part, self.settings_epoch)
        places = part % len(self.source)  # what is served again has a higher number
        self.sampler.expect(places)
        weights = self.sampler.weights_of(places, images.device)
        return self.transforms(images, labels, random, self._entropy(epoch, number), weights)


def _random(seed, epoch, part, settings):
    # Other draws than the crop's, which come from the seed itself: a seed of their own.
    return PerImageRandom(seed + 1, epoch, part, settings)
