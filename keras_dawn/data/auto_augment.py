"""RandAugment and TrivialAugment: operations drawn for each image, batched on the device."""

import functools

from keras_dawn.data.operations import OPERATIONS, apply_operations
from keras_dawn.data.transforms import Transform

import torch

_BINS = 31  # strengths, from none to the most
_SIGNED = ("shear", "translate", "rotate", "brightness", "color", "contrast", "sharpness")
# The most of each operation; `translate` is a fraction of the side, or `None` for 32 pixels.
RAND = {"shear": 0.3, "translate": 150 / 331, "rotate": 30, "blend": 0.9, "bits": 4}
TRIVIAL = {"shear": 0.99, "translate": None, "rotate": 135, "blend": 0.99, "bits": 6}


class RandAugment(Transform):
    """Some operations drawn for each image, all at one strength (arXiv:1909.13719).

    The fourteen operations and strengths of `torchvision.transforms.v2.RandAugment`. Works on and
    returns uint8: put it first, or first after the crop.

    Args:
        count: int, operations an image.
        strength: int 0–30.

    Raises:
        ValueError: numbers out of range.

    Example:
        >>> keras_dawn.data.RandAugment(2, 9)
        RandAugment(count=2, strength=9)
    """

    is_random = True
    before_normalize = True

    def __init__(self, count=2, strength=9):
        if not isinstance(count, int) or count < 1:
            raise ValueError(f"`count` must be a whole number from 1 up, got {count!r}.")
        if not isinstance(strength, int) or not 0 <= strength < _BINS:
            raise ValueError(f"`strength` must be a whole number from 0 to 30, got {strength!r}.")
        self.count, self.strength = count, strength

    def __call__(self, images, random):
        images = to_bytes(images)
        table = _magnitudes(tuple(images.shape[1:3]), images.device, **RAND)
        for _ in range(self.count):
            operation = random.integers(0, len(OPERATIONS))
            magnitude = _signed(table[operation, self.strength], operation, random.coin())
            images = apply_operations(images, operation, magnitude)
        return images


class TrivialAugment(Transform):
    """One operation for each image, at a strength drawn for it (arXiv:2103.10158).

    The fourteen operations and strengths of `torchvision.transforms.v2.TrivialAugmentWide`.
    Works on and returns uint8: put it first, or first after the crop.

    Example:
        >>> images = torch.zeros(2, 8, 8, 3, dtype=torch.uint8)
        >>> data = keras_dawn.data.DeviceImages(images, [0, 1], 2, transforms=[TrivialAugment()])
    """

    is_random = True
    before_normalize = True

    def __call__(self, images, random):
        images = to_bytes(images)
        table = _magnitudes(tuple(images.shape[1:3]), images.device, **TRIVIAL)
        operation = random.integers(0, len(OPERATIONS))
        strength = random.integers(0, _BINS)
        magnitude = _signed(table[operation, strength], operation, random.coin())
        return apply_operations(images, operation, magnitude)


def to_bytes(images):
    """Float images in [0, 1] as uint8; uint8 images as they are."""
    if images.dtype == torch.uint8:
        return images
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


@functools.cache
def _magnitudes(size, device, *, shear, translate, rotate, blend, bits):
    """The magnitude of each operation at each strength, float32 `(operations, strengths)`.

    Made once: a copy to a GPU would be waited for.

    Args:
        size: `(height, width)` of the images.
        device: theirs.
        shear, rotate, blend: float, the most of each.
        translate: float, the most, a fraction of the side; `None` for 32 pixels.
        bits: int, how many of 8 posterizing takes away at most.
    """
    height, width = size
    unit = torch.linspace(0, 1, _BINS)
    sides = {"translate_x": width, "translate_y": height}
    rows = []
    for name in OPERATIONS:
        if name.startswith("shear"):
            row = unit * shear
        elif name in sides:
            most = 32.0 if translate is None else translate * sides[name]
            row = torch.linspace(0, most, _BINS)
        elif name == "rotate":
            row = unit * rotate
        elif name == "posterize":
            # As torchvision counts: bits that stay, from all eight down.
            row = (8 - torch.arange(_BINS) / ((_BINS - 1) / bits)).round()
        elif name == "solarize":
            row = torch.linspace(1, 0, _BINS)
        else:
            row = unit * blend
        rows.append(row)
    return torch.stack(rows).to(device)


def _signed(magnitude, operation, negative):
    """The magnitude, negative for half the images where the operation has two directions."""
    return torch.where(_have_signs(operation.device)[operation] & negative, -magnitude, magnitude)


@functools.cache
def _have_signs(device):
    return torch.tensor([name.startswith(_SIGNED) for name in OPERATIONS], device=device)
