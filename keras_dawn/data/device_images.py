"""Labelled images that live on the training device, as data for `fit`."""

import functools

from keras_dawn.data.labels import OneHot
from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.data.pipeline import Pipeline
from keras_dawn.data.samplers import InOrder, check_has_batches
from keras_dawn.data.shared_batches import SharedBatches
from keras_dawn.data.transforms import Normalize
from keras_dawn.data.unmade import Describer, tells_nobody
from keras_dawn.distributed.sharding import Share
from keras_dawn.foundation.arrays import tensor_of
from keras_dawn.foundation.data_content import digest_of
from keras_dawn.foundation.device import default_device

import numpy as np
import torch
from torch.utils.data import TensorDataset


class DeviceImages(SharedBatches):
    """Serves batches from a uint8 image set kept whole on the training device.

    Nothing passes through NumPy or another process: a batch is picked by one operation,
    augmented and normalised by a handful of batched ones on the device. Being a
    `torch.utils.data.DataLoader`, it goes into `fit`, `evaluate`, `predict` and
    hand-written loops alike. It does not shuffle unless it is told to: for training pass
    `sampler=Shuffled(seed)` here, and `shuffle=False` to plain Keras's `fit`, which otherwise warns
    that it will not shuffle.

    Order and transforms depend on the sampler's seed and the epoch alone. The epoch starts at 0 and
    advances with each whole pass, but for an accelerated model's `evaluate` and `predict`;
    `set_epoch` sets it, for instance to go on with an interrupted training. Where a `fit` has
    `steps_per_epoch`, order and random numbers are those of the pass over the data, and transforms
    that change with the epoch are those of the `fit`'s epoch (`settings_epoch`, which `set_epoch`
    sets back to `None`: that of the pass). So they are where an accelerated model's `fit` validates
    on it.

    Under CUDA graphs the step makes its batch itself, of the images and settings of when the batch
    was fetched; but for pixels, labels or weights that a callback's `on_train_batch_begin` writes
    in place, which then count one batch earlier than in plain Keras.

    On several ranks (`keras_dawn.distribute`), `fit` and `evaluate` give every rank its share
    of each batch; iterating over the data by hand serves all of it.

    Args:
        images: uint8 array or tensor `(count, height, width, channels)`.
        labels: integer array or tensor `(count,)`.
        batch_size: int.
        transforms: list, applied in its order (`PadCrop`, `RandomFlip`, `Cutout`, `Normalize`,
            `OneHot`, `MixUp`, … of `keras_dawn.data`), or dict from the first epoch (0-based) of
            each list to it. Pixels become floats in [0, 1] if the list has no `Normalize`.
        sampler: `InOrder` by default; `Shuffled(seed)`, `Balanced`, `Hardest`. It has weights too.
        drop_last: bool, whether to leave out a last batch that is not full.
        device: torch device; by default the one that Keras computes on.

    Yields:
        `(images, labels)`: float32 `(batch, height, width, channels)` and int64 `(batch,)`, or
        with `OneHot` float32 `(batch, classes)`; and with a sampler's weights
        `(images, labels, weights)`, float32 `(batch,)`.

    Raises:
        ValueError: shapes, dtypes, sizes or transforms that do not fit.

    Example:
        >>> from keras_dawn.data import PadCrop, Shuffled
        >>> data = DeviceImages(
        ...     np.zeros((10, 32, 32, 3), "uint8"), np.arange(10), batch_size=4,
        ...     transforms=[PadCrop(4), Normalize(0.5, 0.25)], sampler=Shuffled(seed=1),
        ... )
        >>> [len(labels) for images, labels in data]
        [4, 4, 2]
    """

    def __init__(
        self,
        images,
        labels,
        batch_size,
        *,
        transforms=(),
        sampler=None,
        drop_last=False,
        device=None,
    ):
        images, labels = tensor_of(images), tensor_of(_class_numbers(labels))
        self.transforms = Pipeline(transforms, Normalize())
        _check(images, labels, batch_size, self.transforms)
        device = torch.device(device or default_device())
        # As uint8, a quarter of the memory of floats; a batch becomes float when it is normalised.
        self.images = images.to(device)
        self.labels = labels.to(device, torch.int64)
        self.epoch, self.settings_epoch = 0, None
        self.rank_weight = 1.0
        super().__init__(
            TensorDataset(self.images, self.labels),
            batch_size=batch_size,
            drop_last=drop_last,
            sampler=sampler or InOrder(),
        )
        self.set_share(Share(), training=False)
        check_has_batches(self, self.sampler.served(len(images)))

    def fingerprint(self):
        """What tells this data from other: its images, labels, weights, seed and batches."""
        sampler = self.sampler
        settings = sampler.seed, self.batch_size, self.drop_last
        return digest_of(self.images, self.labels, sampler.weights, settings)

    def set_epoch(self, epoch):
        """Makes the next pass that of `epoch` (0-based); the name torch's samplers use."""
        self.epoch, self.settings_epoch = int(epoch), None

    def settings_at(self, epoch):
        """What an epoch looks like, to compare with another's."""
        return self.transforms.settings_at(epoch)

    def __repr__(self):
        return (
            f"DeviceImages({len(self.images):,} images, batches of {self.batch_size}, "
            f"{self.transforms})"
        )

    def order(self, epoch):
        """What `epoch` serves (`InOrder.order`), int64 `(served,)`, on the device."""
        return self.sampler.order(len(self.images), epoch).to(self.images.device)

    def batch(self, order, epoch, number=0):
        """A batch as the network gets it; `order` is int64 `(batch,)`, `number` its place."""
        random = PerImageRandom(self.sampler.seed, epoch, order, self.settings_epoch)
        indices = random.indices % len(self.images)  # what is served again has a higher number
        self.sampler.expect(indices)
        weights = self.sampler.weights_of(indices, indices.device)
        images, labels = (each.index_select(0, indices) for each in (self.images, self.labels))
        return self.transforms(images, labels, random, self._entropy(epoch, number), weights)

    def normalized(self, images):
        """Images of any count and size as batches have them; uint8, or floats in [0, 1]."""
        return self.transforms.normalized(images.to(self.images.device))

    def __iter__(self):
        # A generator: Keras makes several iterators per epoch and uses one of them.
        for order, epoch, number in self._portions():
            yield self.batch(order, epoch, number)

    def unmade(self, wanted):
        """The same, but for batches that come as `Unmade` where `wanted()` is true before each.

        For a training that records its steps: its graphs make the batches, too. Batches that need
        Python of the user's come as they are.
        """
        if type(self) is not DeviceImages or not tells_nobody(self.sampler):
            yield from self
            return
        describe = Describer(self, self.images.device, _picked)
        for portion in self._portions():
            made = functools.partial(self.batch, *portion)
            if wanted():
                entropy, size = self._entropy(*portion[1:]), tuple(self.images.shape[1:3])
                yield describe([portion[0]], entropy, size, made, [self.images, self.labels])
            else:
                yield made()

    def _portions(self):
        """Of each batch of a pass: its part of the order, the epoch and its number."""
        epoch = self.epoch
        order, bounds = self.order(epoch), self._bounds()
        for number, (start, stop) in enumerate(bounds):
            if number == len(bounds) - 1:
                self.epoch = epoch + 1  # before the last `yield`: Keras does not come back
            self.rank_weight = self.share.weight(stop - start)
            yield self.share.of(order[start:stop]), epoch, number


def _picked(read, order, epoch, settings, entropy, numbers):
    """`DeviceImages.batch` of what was read of the data when the batch was fetched."""
    random = PerImageRandom(read.seed, epoch, order[0], settings)
    indices = random.indices % len(read.tensors[0])
    images, labels = (each.index_select(0, indices) for each in read.tensors)
    weights = read.weights_of(indices)
    return read.transforms(images, labels, random, entropy, weights, numbers)


def _class_numbers(labels):
    """Labels as a tensor or an array; names are refused, which a tensor does not hold."""
    if isinstance(labels, torch.Tensor):
        return labels
    # A copy of theirs: columns of data frames have numbers of rows of their own, and are read-only.
    array = np.array(labels)
    if array.dtype.kind in "USO":
        raise ValueError(
            f"`labels` must be class numbers, got {array.dtype} such as {array.flat[0]!r}: "
            "np.unique(labels, return_inverse=True) gives the names in order and the numbers."
        )
    return array


def _check(images, labels, batch_size, transforms):
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ValueError(
            "`images` must be uint8 of shape (count, height, width, channels), "
            f"got {images.dtype} of shape {tuple(images.shape)}."
        )
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) != len(images):
        raise ValueError(
            f"`labels` must be integers of shape ({len(images)},), one for each image, "
            f"got {labels.dtype} of shape {tuple(labels.shape)}."
        )
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"`batch_size` must be a whole number from 1 up, got {batch_size!r}.")
    if len(images) == 0:
        raise ValueError("No batch can be made of 0 images.")
    for normalize in transforms.of(Normalize):
        normalize.check_channels(images.shape[-1])
    for one_hot in transforms.of(OneHot):
        one_hot.check_labels(*map(int, labels.to(torch.int64).aminmax()))
