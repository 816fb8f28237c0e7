"""Labelled images that live on the training device, as data for `fit`."""

from keras_dawn.data.augment import to_unit_range
from keras_dawn.data.order import epoch_order
from keras_dawn.data.per_image_random import PerImageRandom
from keras_dawn.distributed.sharding import Share

import torch
from torch.utils.data import DataLoader, TensorDataset


class DeviceImages(DataLoader):
    """Serves batches from a uint8 image set kept whole on the training device.

    Nothing passes through NumPy or another process: a batch is one gather, augmented and
    normalised by a handful of batched operations on the device. Being a
    `torch.utils.data.DataLoader`, it goes into `fit`, `evaluate`, `predict` and
    hand-written loops alike. It shuffles itself: pass `shuffle=False` to `fit`, which
    otherwise warns that it will not.

    Order and augmentation depend on `(seed, epoch)` alone. The epoch starts at 0 and
    advances with each whole pass; `set_epoch` sets it, for instance to go on with an
    interrupted training.

    On several ranks (`keras_dawn.distribute`), `fit` and `evaluate` give every rank its share
    of each batch; iterating over the data by hand serves all of it.

    Args:
        images: uint8 array or tensor `(count, height, width, channels)`.
        labels: integer array or tensor `(count,)`.
        batch_size: int.
        augment: list of transforms (`keras_dawn.data.augment`), applied in order.
        mean, std: floats per channel on the scale [0, 1]; batches are
            `(images / 255 - mean) / std`.
        shuffle: bool, a new order each epoch.
        drop_last: bool, whether to leave out a last batch that is not full.
        seed: int.
        device: torch device; by default the one Keras uses (the first GPU, else the CPU).

    Yields:
        `(images, labels)`: float32 `(batch, height, width, channels)` and int64 `(batch,)`.

    Raises:
        ValueError: shapes, dtypes or sizes that do not fit.

    Example:
        >>> data = DeviceImages(np.zeros((10, 32, 32, 3), "uint8"), np.arange(10), batch_size=4)
        >>> [len(labels) for images, labels in data]
        [4, 4, 2]
    """

    def __init__(
        self,
        images,
        labels,
        batch_size,
        *,
        augment=(),
        mean=(0.0,),
        std=(1.0,),
        shuffle=False,
        drop_last=False,
        seed=0,
        device=None,
    ):
        images, labels = torch.as_tensor(images), torch.as_tensor(labels)
        _check(images, labels, batch_size, drop_last, mean, std)
        device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.images = images.to(device)
        self.labels = labels.to(device, torch.int64)
        self.augment = list(augment)
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = 0
        self._mean = torch.tensor(mean, device=device)
        self._scale = 1.0 / torch.tensor(std, device=device)
        self.rank_weight = 1.0
        super().__init__(
            TensorDataset(self.images, self.labels), batch_size=batch_size, drop_last=drop_last
        )
        self.set_share(Share(), training=False)

    @property
    def served(self):
        """How many images an epoch has."""
        return len(self.images)

    def set_share(self, share, training):
        """Serves one rank's share of each batch from now on (`distributed.sharding.Share`)."""
        self.share = share
        self._bounds = share.batches(self.served, self.batch_size, self.drop_last, training)

    def set_epoch(self, epoch):
        """Makes the next pass that of `epoch` (0-based); the name torch's samplers use."""
        self.epoch = int(epoch)

    def __len__(self):
        return len(self._bounds)

    def order(self, epoch):
        """Indices in the order of `epoch`, int64 `(count,)`, on the device."""
        order = epoch_order(len(self.images), self.seed, epoch, self.shuffle)
        return order.to(self.images.device)

    def batch(self, indices, epoch):
        """Augmented and normalised images and their labels; `indices` is int64 `(batch,)`."""
        images = self.images.index_select(0, indices)
        random = PerImageRandom(self.seed, epoch, indices)
        for transform in self.augment:
            images = transform(images, random)
        return self.normalized(images), self.labels.index_select(0, indices)

    def normalized(self, images):
        """Images of any count and size as batches have them; uint8, or floats in [0, 1]."""
        return (to_unit_range(images.to(self.images.device)) - self._mean) * self._scale

    def __iter__(self):
        # A generator: Keras makes several iterators per epoch and uses one of them.
        epoch = self.epoch
        order = self.order(epoch)
        for number, (start, stop) in enumerate(self._bounds):
            if number == len(self._bounds) - 1:
                self.epoch = epoch + 1  # before the last `yield`: Keras does not come back
            self.rank_weight = self.share.weight(stop - start)
            yield self.batch(self.share.of(order[start:stop]), epoch)


def _check(images, labels, batch_size, drop_last, mean, std):
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
    if len(images) == 0 or (drop_last and len(images) < batch_size):
        raise ValueError(
            f"No batch can be made of {len(images)} images with batch_size={batch_size} "
            f"and drop_last={drop_last}."
        )
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[-1]):
            raise ValueError(
                f"`{name}` must have 1 or {images.shape[-1]} values, got {len(values)}."
            )
    if min(std) <= 0:
        raise ValueError(f"`std` must be above 0, got {std}.")
