"""Augmentation: batched torch operations, each image with draws of its own.

A transform is called with `(images, random)`, where `images` has the shape
`(batch, height, width, channels)` on any device and `random` is a `PerImageRandom`.
Geometry keeps the dtype; colour and rotation work on, and return, float32 in [0, 1].
A function with this signature is a transform too. They stand in the list `transforms=` of arrays
(`DeviceImages`) and of photos (`photos.ResizingImages`) alike.
"""

import math

from keras_dawn.data.by_epoch import at_epoch
from keras_dawn.data.transforms import Transform, filled, to_unit_range

import torch
import torch.nn.functional as F


class PadCrop(Transform):
    """A crop of the original size from the image padded by reflection.

    Args:
        padding: int, pixels on each side, below the image's height and width.
    """

    is_random = True

    def __init__(self, padding):
        if not isinstance(padding, int) or padding < 0:
            raise ValueError(f"`padding` must be a whole number from 0 up, got {padding!r}.")
        self.padding = padding

    def __call__(self, images, random):
        _, height, width, _ = images.shape
        if self.padding >= min(height, width):
            raise ValueError(
                f"Reflection needs a padding below the image size, got {self.padding} "
                f"for images of {height} × {width}."
            )
        rows = self._coordinates(random, height)
        columns = self._coordinates(random, width)
        return take_pixels(images, rows, columns)

    def _coordinates(self, random, size):
        start = random.integers(-self.padding, self.padding + 1)
        # Reflected places in place of padded copies: only the crop's pixels are touched.
        line = (start[:, None] + torch.arange(size, device=start.device)).abs()
        return torch.where(line < size, line, 2 * (size - 1) - line)  # mirrored at both edges


class RandomFlip(Transform):
    """A left-right flip of half the images."""

    is_random = True

    def __call__(self, images, random):
        return flip_where(images, random.coin())


class AlternatingFlip(Transform):
    """A left-right flip that alternates: each image is seen both ways in two epochs.

    Half the images are flipped in even epochs and the other half in odd ones (Jordan
    2024, arXiv:2404.00498).
    """

    is_random = True

    def __call__(self, images, random):
        # A coin that knows neither seed nor epoch: the same image, the same half, in every run.
        first = type(random)(0, 0, random.indices).coin()
        return flip_where(images, first ^ (random.epoch % 2 == 1))


class Cutout(Transform):
    """A blank square at a random place, partly outside at the borders (arXiv:1708.04552).

    Args:
        size: int, side in pixels.
        value: fill value, on the scale of the images (0–255 for uint8).

    Raises:
        ValueError: a bad size; when called, a `value` that is none of the images' scale.
    """

    is_random = True

    def __init__(self, size, value=0):
        if not isinstance(size, int) or size < 1:
            raise ValueError(f"`size` must be a whole number from 1 up, got {size!r}.")
        self.size = size
        self.value = value

    def __call__(self, images, random):
        rows = self._covered(random, images.shape[1])
        columns = self._covered(random, images.shape[2])
        # A mask over whole images: which of them it covers is never asked of the device.
        covered = rows[:, :, None] & columns[:, None, :]
        return filled(images, covered, self.value)

    def _covered(self, random, size):
        start = random.integers(0, size) - self.size // 2
        offset = torch.arange(size, device=start.device) - start[:, None]
        return (offset >= 0) & (offset < self.size)


class Resize(Transform):
    """Images of a size that changes with the epoch: small ones first, as they are cheaper.

    Bilinear with antialiasing, as Pillow and torchvision resize; float32 in [0, 1].

    Args:
        size: int, pixels a side, or dict from the first epoch (0-based) of each size to it, such
            as `{0: 20, 4: 24, 8: 32}`.

    Raises:
        ValueError: a size below 1, an epoch below 0, or no size for epoch 0.
    """

    def __init__(self, size):
        sizes = size if isinstance(size, dict) else {0: size}
        numbers = [*sizes, *sizes.values()]
        if (
            not all(isinstance(n, int) and n >= 0 for n in numbers)
            or 0 not in sizes
            or min(sizes.values()) < 1
        ):
            raise ValueError(
                "`size` must be pixels, or a dict from epochs, the first 0, to pixels; got "
                f"{size!r}."
            )
        self.size = dict(sorted(sizes.items()))

    def settings(self, epoch):
        return (at_epoch(self.size, epoch),)

    def size_after(self, size, epoch):
        return (at_epoch(self.size, epoch),) * 2

    def __call__(self, images, random):
        size = at_epoch(self.size, random.settings_epoch)
        images = to_unit_range(images)
        if tuple(images.shape[1:3]) == (size, size):
            return images
        resized = F.interpolate(
            images.permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=True
        )
        return resized.permute(0, 2, 3, 1)


class RandomRotation(Transform):
    """A rotation about the centre, bilinear, the corners filled by reflection.

    Args:
        degrees: float; the angle is uniform in `[-degrees, degrees)`.
    """

    is_random = True

    def __init__(self, degrees):
        if not degrees >= 0:
            raise ValueError(f"`degrees` must be 0 or more, got {degrees}.")
        self.degrees = degrees

    def __call__(self, images, random):
        images = to_unit_range(images)
        return rotate(images, random.uniform(-self.degrees, self.degrees))


def take_pixels(images, rows, columns):
    """Picks pixels by row and column, each image its own.

    Args:
        images: `(batch, height, width, channels)`.
        rows, columns: int64 `(batch, new_height)` and `(batch, new_width)`.
    """
    batch, height, width, channels = images.shape
    # One gather of whole pixels, their channels side by side in memory.
    first = torch.arange(batch, device=images.device)[:, None, None] * (height * width)
    places = first + rows[:, :, None] * width + columns[:, None, :]
    pixels = images.reshape(-1, channels).index_select(0, places.flatten())
    return pixels.view(*places.shape, channels)


def flip_where(images, flipped):
    """Mirrors left and right the images for which `flipped`, bool `(batch,)`, is true."""
    return torch.where(flipped[:, None, None, None], images.flip(2), images)


def rotate(images, degrees):
    """Rotates float images counter-clockwise by `degrees`, a float tensor `(batch,)`."""
    angle = degrees * (math.pi / 180)
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    batch, height, width, channels = images.shape
    # Of coordinates in [-1, 1], so of squares: the aspect ratio corrects for other shapes.
    matrix = torch.stack(
        [cosine, -sine * height / width, zero, sine * width / height, cosine, zero], dim=1
    ).view(batch, 2, 3)
    grid = F.affine_grid(matrix, (batch, channels, height, width), align_corners=False)
    rotated = F.grid_sample(
        images.permute(0, 3, 1, 2), grid, padding_mode="reflection", align_corners=False
    )
    return rotated.permute(0, 2, 3, 1)
