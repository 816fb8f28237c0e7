"""A list of transforms, made complete and applied in its order."""

import copy

from keras_dawn.data.by_epoch import at_epoch, by_epoch
from keras_dawn.data.foreign import adapted
from keras_dawn.data.transform_list import check_list, check_order, completed, split_crop
from keras_dawn.data.transforms import BatchTransform, Normalize, Transform

import torch


class Pipeline:
    """What `transforms=` of a data set asks for, from the pixels to what the network gets.

    Transforms are applied in the order of the list. Where it has no `Normalize`, `normalize` is
    put last, but before what mixes images; where photos have no crop, `crop` is put first.

    Args:
        transforms: list, or dict from the first epoch (0-based) of each list to it.
        normalize: `Normalize`.
        crop: `CenterCrop` or `RandomResizedCrop` for photos, `None` for arrays.
        several_labels: bool, whether labels come as `(batch, classes)`, as of photos with several.

    Attributes:
        by_epoch: dict from first epochs to complete lists, those for photos without their crop.
        crops: dict from first epochs to crops, for photos.

    Raises:
        ValueError: an entry that is not a transform, or that stands where it cannot work.

    Example:
        >>> Pipeline([keras_dawn.data.OneHot(10)], Normalize()).by_epoch
        {0: [OneHot(classes=10), Normalize(mean=(0.0,), std=(1.0,), scale=1)]}
    """

    def __init__(self, transforms, normalize, crop=None, several_labels=False):
        given = by_epoch(transforms, "transforms", check_list)
        self.by_epoch, self.crops = {}, {}
        for epoch, transforms in given.items():
            self.crops[epoch], rest = split_crop(adapted(transforms), crop)
            self.by_epoch[epoch] = completed(rest, normalize)
            check_order(self.by_epoch[epoch], several_labels)

    def __call__(self, images, labels, random, entropy, weights=None, numbers=None):
        """One batch, transformed.

        Args:
            images: uint8 `(batch, height, width, channels)`.
            labels: int64 `(batch,)`.
            random: `PerImageRandom`, which knows the epoch of the settings too.
            entropy: list of ints, of this batch and this rank.
            weights: float32 `(batch,)`, or `None`. What mixes images mixes their weights.
            numbers: float32 tensor on the device, what `draw` gave for the batch, where `entropy`
                is not to be asked; or `None`.

        Returns:
            `(images, labels)`: float32, and int64 `(batch,)` or float32 `(batch, classes)`; or with
            weights `(images, labels, weights)`.
        """
        mix = _Drawing(entropy) if numbers is None else _Drawn(numbers)
        for transform in at_epoch(self.by_epoch, random.settings_epoch):
            if isinstance(transform, BatchTransform):
                if transform.mixes_images and weights is not None:  # as one more class
                    labels = torch.cat([labels, weights[:, None]], 1)
                    images, labels = mix(transform, images, labels)
                    labels, weights = labels[:, :-1], labels[:, -1]
                else:
                    images, labels = mix(transform, images, labels)
            else:
                images = self._of_images(transform, images, random)
        return (images, labels) if weights is None else (images, labels, weights)

    def draw(self, entropy, size, epoch):
        """What the host draws for a batch, a list of floats, for `numbers` of a call.

        Args:
            entropy: list of ints, of this batch and this rank.
            size: `(height, width)` of the images before the transforms.
            epoch: int, that of the settings.
        """
        numbers, entropies = [], _entropies(entropy)
        for transform in at_epoch(self.by_epoch, epoch):
            if isinstance(transform, BatchTransform):
                numbers += transform.draw(entropies(transform), size)
            size = transform.size_after(size, epoch)
        return numbers

    def kind(self, epoch):
        """What its work depends on beside a batch and its numbers, to compare; hashable.

        `None` where some of it may not be recorded and done again without its Python, as a
        transform of the user's or torchvision's.
        """
        kind = []
        for transform in at_epoch(self.by_epoch, epoch):
            if not (_is_ours(transform) and transform.on_device):
                return None
            kind.append((type(transform), transform.settings(epoch)))
        return tuple(kind) if _is_hashable(tuple(kind)) else None

    def settings_at(self, epoch):
        """The transforms of an epoch and what they are set to then, to compare with another's."""
        return [
            (t, t.settings(epoch) if isinstance(t, Transform) else None)
            for t in at_epoch(self.by_epoch, epoch)
        ]

    def copy_at(self, epoch):
        """A copy for one epoch of the settings, which later changes do not reach."""
        copied = copy.copy(self)
        copied.by_epoch = {0: copy.deepcopy(at_epoch(self.by_epoch, epoch))}
        return copied

    def of(self, kind):
        """All transforms of a class, in any epoch."""
        return [t for row in self.by_epoch.values() for t in row if isinstance(t, kind)]

    def random_ones(self):
        """The transforms that show an image in another way each epoch, crops among them."""
        rows = ([crop, *self.by_epoch[epoch]] for epoch, crop in self.crops.items())
        found = [t for row in rows for t in row if getattr(t, "is_random", False)]
        return list({repr(t): t for t in found}.values())

    def normalized(self, images):
        """Images without any other transform, as the first epoch normalises them."""
        return self.of(Normalize)[0](images)

    @property
    def mean_and_std(self):
        """What the first epoch's pixels are normalised by, on the scale [0, 1], for pictures."""
        normalize = self.of(Normalize)[0]
        if normalize.scale == 1:
            return normalize.mean, normalize.std
        return tuple(m / 255 for m in normalize.mean), tuple(s / 255 for s in normalize.std)

    def __repr__(self):
        rows = {
            epoch: [crop, *self.by_epoch[epoch]] if crop else self.by_epoch[epoch]
            for epoch, crop in self.crops.items()
        }
        return repr(rows[0] if len(rows) == 1 else rows)

    def _of_images(self, transform, images, random):
        if isinstance(transform, Normalize) and self.crops[0] is not None:
            return transform.of_bytes(images)
        return transform(images, random)


def _entropies(entropy):
    """The entropy of one `BatchTransform` after the other: a second that mixes has its own."""
    mixed = 0

    def of(transform):
        nonlocal mixed
        before, mixed = mixed, mixed + transform.mixes_images
        return [*entropy, before] if before else entropy

    return of


class _Drawing:
    """Calls what mixes a batch with draws of its own."""

    def __init__(self, entropy):
        self._entropies = _entropies(entropy)

    def __call__(self, transform, images, labels):
        return transform(images, labels, self._entropies(transform))


class _Drawn:
    """Calls what mixes a batch with numbers on the device, in the order of `Pipeline.draw`."""

    def __init__(self, numbers):
        self._rest = iter(numbers.split(1))

    def __call__(self, transform, images, labels):
        numbers = [next(self._rest) for _ in range(transform.drawn)]
        return transform.mixed(images, labels, numbers)


def _is_ours(transform):
    """Whether a transform's class is this package's, and no function and no subclass."""
    return isinstance(transform, Transform) and type(transform).__module__.startswith(
        f"{__package__}."
    )


def _is_hashable(kind):
    """Whether settings are such as nobody changes in place: numbers and tuples, no lists."""
    try:
        hash(kind)
    except TypeError:
        return False
    return True
