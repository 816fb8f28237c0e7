"""What a transform is, and normalisation, which ends the work on pixels."""

import functools

import numpy as np
import torch

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Transform:
    """Base class of the transforms: a `repr` that shows the settings.

    A transform is called with `(images, random)` and returns the images: `images` is a uint8 or
    float tensor `(batch, height, width, channels)`, floats behind `Normalize`; `random` a
    `PerImageRandom`, which draws a number for each image (`random.uniform(0, 1)`,
    `random.integers(0, 9)`). A function of these two will do; one of a single image goes into
    `PerImage`; what changes labels too is a `BatchTransform`.
    """

    on_device = True  # whether it is operations on tensors alone, without a look at a number
    is_random = False  # whether it shows an image in another way each epoch

    def settings(self, epoch):
        """What it reads in an epoch of the settings: what a graph of it has frozen."""
        return tuple(value for name, value in vars(self).items() if not name.startswith("_"))

    def size_after(self, size, epoch):
        """`(height, width)` of the images that it makes of those of a size."""
        return size

    def __repr__(self):
        settings = ", ".join(
            f"{name}={value}" for name, value in vars(self).items() if not name.startswith("_")
        )
        return f"{type(self).__name__}({settings})"


class BatchTransform(Transform):
    """A transform of a whole batch, its labels too.

    It is called with `(images, labels, entropy)` and returns `(images, labels)`. `entropy` is a
    list of ints made of (seed, epoch, batch, rank), for `numpy.random.default_rng`. Those of this
    package are a `draw` on the host and a `mixed` on the device.
    """

    needs_probabilities = False  # whether labels must be class probabilities by then
    mixes_images = True
    drawn = 0  # how many numbers `draw` gives

    def __call__(self, images, labels, entropy):
        """`(images, labels)` mixed.

        Args:
            images: `(batch, height, width, channels)`.
            labels: int64 `(batch,)`, or float `(batch, classes)`.
            entropy: list of ints that the draws depend on.
        """
        return self.mixed(images, labels, self.draw(entropy, tuple(images.shape[1:3])))

    def draw(self, entropy, size):
        """The numbers of one batch of images of a size, a list of `drawn` floats."""
        return []

    def mixed(self, images, labels, numbers):
        """The same with the numbers of `draw`, or with float32 tensors of shape `(1,)`."""
        raise NotImplementedError


class Normalize(Transform):
    """Pixels as float32: divided by 255, minus `mean`, divided by `std`.

    `Normalize()` gives [0, 1]. `Normalize(0.5, 0.5)` gives [-1, 1], which the MobileNets, Inception
    and Xception of `keras.applications` take. Its networks that normalise by themselves
    (EfficientNet, ConvNeXt, MobileNetV3, RegNet) take pixels from 0 to 255: `Normalize(scale=255)`.

    Args:
        mean, std: float, or one for each channel, of pixels that go from 0 to `scale`.
        scale: 1 or 255, what the brightest pixel is before `mean` and `std`.

    Raises:
        ValueError: numbers on the other scale, or a `std` of 0 or less.

    Example:
        >>> Normalize(0.5, 0.5)(torch.full((1, 2, 2, 1), 255, dtype=torch.uint8)).flatten()
        tensor([1., 1., 1., 1.])
    """

    def __init__(self, mean=0.0, std=1.0, *, scale=1):
        self.mean, self.std, self.scale = _floats(mean), _floats(std), scale
        if scale not in (1, 255):
            raise ValueError(f"`scale` must be 1 or 255, got {scale!r}.")
        if min(self.std) <= 0:
            raise ValueError(f"`std` must be above 0, got {std}.")
        # The commonest slip: numbers of the 0–255 scale would give images that are nearly constant.
        if scale == 1 and max(*self.mean, *self.std) > 1:
            raise ValueError(
                f"`mean` and `std` must be those of pixels from 0 to 1, got {mean} and {std}. If "
                "they are those of pixels from 0 to 255, say so: Normalize(mean, std, scale=255)."
            )
        if scale == 255 and max(*self.mean, *self.std) <= 1 and (any(self.mean) or self.std[0] < 1):
            raise ValueError(
                f"`mean` and `std` must be those of pixels from 0 to 255, got {mean} and {std}. If "
                "they are those of pixels from 0 to 1, leave `scale` out."
            )

    def __call__(self, images, random=None):
        """float32 images; from uint8, or from floats in [0, 1]."""
        self.check_channels(images.shape[-1])  # what is before it in a list may have made one
        mean, factor = self._on(images.device)
        if self.scale == 1:
            return (to_unit_range(images) - mean) * factor  # the reciprocal: cheaper than to divide
        pixels = images.float() if images.dtype == torch.uint8 else images * 255
        return (pixels - mean) * factor

    def of_bytes(self, images):
        """The same, with one pass fewer over the pixels where images are uint8.

        255 goes into `mean` and `std`, which rounds the last bit otherwise. Photos are normalised
        like this and arrays are not, as the numbers of their trainings were measured.
        """
        if self.scale == 255 or images.dtype != torch.uint8:
            return self(images)
        self.check_channels(images.shape[-1])
        mean, factor = self._on(images.device, 255)
        return (images.to(torch.float32) - mean) * factor

    def check_channels(self, channels):
        """Raises `ValueError` unless the numbers fit images of so many channels."""
        for name in ("mean", "std"):
            if len(getattr(self, name)) not in (1, channels):
                raise ValueError(
                    f"`{name}` must have 1 or {channels} values, got {len(getattr(self, name))}."
                )

    def _on(self, device, scale=1):
        return _mean_and_factor(self.mean, self.std, device, scale)


@functools.cache
def _mean_and_factor(mean, std, device, scale):
    """Copied to a GPU once, not for every batch; nor in a graph, for which that is too late."""
    mean, std = (torch.tensor(numbers, device=device) for numbers in (mean, std))
    return scale * mean, 1.0 / (scale * std)


def filled(images, covered, value):
    """Images with a value where `covered`, bool `(batch, height, width)`, is true.

    Raises:
        ValueError: a value that uint8 images cannot hold, which would be cut to a whole number.
    """
    if images.dtype == torch.uint8 and not (0 <= value <= 255 and value == int(value)):
        raise ValueError(
            f"`value` must be a whole number from 0 to 255 where images are uint8, got {value}: "
            "put the transform after Normalize, or give the value on that scale."
        )
    return images.masked_fill(covered[..., None], value)


def to_unit_range(images):
    """uint8 images as float32 in [0, 1]; float images as they are."""
    return images.to(torch.float32).div_(255) if images.dtype == torch.uint8 else images


def _floats(numbers):
    return tuple(map(float, np.ravel(numbers)))
