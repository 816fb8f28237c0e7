"""Colours: transforms of single pixels, batched."""

import functools

from keras_dawn.data.transforms import Transform, to_unit_range

import torch


class Grayscale(Transform):
    """Images of one channel, as Pillow and torchvision make them of three.

    Where the list has no `Normalize`, photos need one with a single mean and deviation.

    Raises:
        ValueError: when called, images of another number of channels than 1 or 3.

    Example:
        >>> Grayscale()(torch.ones(2, 4, 4, 3)).shape
        torch.Size([2, 4, 4, 1])
    """

    before_normalize = True
    one_channel = True

    def __call__(self, images, random=None):
        """float32 `(batch, height, width, 1)` in [0, 1]."""
        if images.shape[-1] not in (1, 3):
            raise ValueError(f"Grayscale takes images of 1 or 3 channels, got {images.shape[-1]}.")
        return grey(to_unit_range(images))


_HUE = 3  # its place among the four


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue, each image in an order of its own.

    As `torchvision.transforms.ColorJitter`.

    Args:
        brightness, contrast, saturation: floats from 0 up; each factor is uniform in
            `[max(0, 1 - x), 1 + x]`.
        hue: float in [0, 0.5]; the hue is turned by a fraction of the circle that is uniform in
            `[-hue, hue]`. Images of one channel have none.
    """

    is_random = True
    before_normalize = True  # it keeps colours in [0, 1]

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0):
        if not 0 <= hue <= 0.5:
            raise ValueError(f"`hue` must be in [0, 0.5], half of the circle, got {hue}.")
        for value in (brightness, contrast, saturation):
            if value < 0:
                raise ValueError(f"A jitter must be 0 or more, got {value}.")
        self.strengths, self.hue = (brightness, contrast, saturation), hue

    def __call__(self, images, random):
        images = to_unit_range(images)
        factors = [random.uniform(max(0.0, 1.0 - x), 1.0 + x) for x in self.strengths]
        if self.hue:
            factors.append(random.uniform(-self.hue, self.hue))
        factors = torch.stack(factors)
        # A permutation for each image: the order of random numbers.
        order = torch.stack([random.uniform() for _ in factors]).argsort(dim=0)
        for turn in order:
            blended = _blend(images, turn, factors.gather(0, turn[None])[0])
            if self.hue:
                turned = turn_hue(images, factors[-1])
                blended = torch.where((turn == _HUE)[:, None, None, None], turned, blended)
            images = blended
        return images


@functools.cache
def _grey_weights(device, dtype):
    """How much each colour counts, made once: a copy to a GPU would be waited for."""
    return torch.tensor([0.2989, 0.587, 0.114], device=device, dtype=dtype)


def grey(images):
    """The brightness of float images, `(batch, height, width, 1)` (ITU-R 601, as torchvision)."""
    if images.shape[-1] != 3:
        return images
    return (images * _grey_weights(images.device, images.dtype)).sum(-1, keepdim=True)


@functools.cache
def _thirds(device, dtype):
    """Where on the circle of six the red, green and blue of a hue begin to fall."""
    return torch.tensor([5.0, 3.0, 1.0], device=device, dtype=dtype)


def turn_hue(images, fractions):
    """Turns the hue of each image by a fraction of the circle, value and saturation kept.

    Args:
        images: floats `(batch, height, width, channels)` in [0, 1].
        fractions: floats `(batch,)`.

    Example:
        >>> red = torch.tensor([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
        >>> turn_hue(red, torch.tensor([1 / 3])).round().tolist()
        [[[[0.0, 1.0, 0.0]]]]
    """
    if images.shape[-1] != 3:
        return images
    red, green, blue = images.unbind(-1)
    highest = images.amax(-1)
    spread = highest - images.amin(-1)
    divisor = torch.where(spread == 0, torch.ones_like(spread), spread)  # grey has no hue
    hue = torch.where(highest == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor)
    hue = torch.where(highest == red, (green - blue) / divisor, hue) + 6 * fractions[:, None, None]
    place = (_thirds(images.device, images.dtype) + hue[..., None]) % 6
    fallen = torch.minimum(place, 4 - place).clamp(0, 1)
    return highest[..., None] - spread[..., None] * fallen


def _blend(images, which, factor):
    """Moves each image away from black (0), its mean grey (1) or its grey version (2)."""
    greys = grey(images)
    which = which[:, None, None, None]
    base = torch.where(which == 1, greys.mean(dim=(1, 2, 3), keepdim=True), greys)
    base = torch.where(which == 0, torch.zeros_like(base), base)
    factor = factor[:, None, None, None]
    return (factor * images + (1.0 - factor) * base).clamp_(0.0, 1.0)
