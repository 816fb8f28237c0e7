"""Colours: transforms of single pixels, batched."""

import functools

from keras_dawn.data.transforms import Transform, to_unit_range

import torch


class Grayscale(Transform):
    """Images of one channel, as Pillow and torchvision make them of three.

    Where the list has no `Normalize`, photos need one with a single mean and deviation.

    Example:
        >>> Grayscale()(torch.ones(2, 4, 4, 3)).shape
        torch.Size([2, 4, 4, 1])
    """

    before_normalize = True
    one_channel = True

    def __call__(self, images, random=None):
        """float32 `(batch, height, width, 1)` in [0, 1]."""
        return grey(to_unit_range(images))


class ColorJitter(Transform):
    """Brightness, contrast and saturation, each image in an order of its own.

    As `torchvision.transforms.ColorJitter`: each factor is uniform in
    `[max(0, 1 - x), 1 + x]`.
    """

    before_normalize = True  # it keeps colours in [0, 1]

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0):
        for value in (brightness, contrast, saturation):
            if value < 0:
                raise ValueError(f"A jitter must be 0 or more, got {value}.")
        self.strengths = (brightness, contrast, saturation)

    def __call__(self, images, random):
        images = to_unit_range(images)
        factors = torch.stack([random.uniform(max(0.0, 1.0 - x), 1.0 + x) for x in self.strengths])
        # A permutation for each image: the order of random numbers.
        order = torch.stack([random.uniform() for _ in self.strengths]).argsort(dim=0)
        for turn in order:
            images = _blend(images, turn, factors.gather(0, turn[None])[0])
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


def _blend(images, which, factor):
    """Moves each image away from black (0), its mean grey (1) or its grey version (2)."""
    greys = grey(images)
    which = which[:, None, None, None]
    base = torch.where(which == 1, greys.mean(dim=(1, 2, 3), keepdim=True), greys)
    base = torch.where(which == 0, torch.zeros_like(base), base)
    factor = factor[:, None, None, None]
    return (factor * images + (1.0 - factor) * base).clamp_(0.0, 1.0)
