"""The views of an image that test-time augmentation averages over."""

from dataclasses import dataclass

import keras
import torch
from torch.utils.data import RandomSampler


@dataclass(frozen=True)
class Views:
    """The fixed views of each image: it, its mirror image, and moved by some pixels.

    With `shift` both are also moved by so many pixels towards two opposite corners, which together
    weigh as much as those in place: Jordan's six views (2024, arXiv:2404.00498) with a shift of 1.

    Args:
        flip: bool, whether the mirror image is a view.
        shift: int from 0 up, pixels; borders are filled by reflection.
        certain: float in (0, 1]; an image whose likeliest class has at least this probability
            without views keeps that prediction, and only the others get the views, which
            saves most of their time on a good network. `None` gives them to all.

    Raises:
        ValueError: bad numbers.
    """

    flip: bool = True
    shift: int = 0
    certain: float | None = None

    def __post_init__(self):
        if not isinstance(self.shift, int) or self.shift < 0:
            raise ValueError(f"`shift` must be a whole number from 0 up, got {self.shift!r}.")
        if self.certain is not None and not 0 < self.certain <= 1:
            raise ValueError(f"`certain` must be in (0, 1], or None, got {self.certain}.")


@dataclass(frozen=True)
class Augmented:
    """Random views, blended in as fastai's `Learner.tta` does it.

    Args:
        data: the same images in the same order, augmented at random, as data with `set_epoch`
            such as `DeviceImages(..., transforms=[...])`.
        n: int from 1 up, how often to go through it.
        beta: float in [0, 1], the weight of the fixed views; the mean of the random ones has the
            rest.

    Raises:
        ValueError: bad numbers, data without `set_epoch`, or data that shuffles itself.
    """

    data: object
    n: int = 4
    beta: float = 0.25

    def __post_init__(self):
        if not isinstance(self.n, int) or self.n < 1:
            raise ValueError(f"`n` must be a whole number from 1 up, got {self.n!r}.")
        if not 0 <= self.beta <= 1:
            raise ValueError(f"`beta` must be in [0, 1], got {self.beta}.")
        if not hasattr(self.data, "set_epoch"):
            raise ValueError(
                "Augmented images must be data with `set_epoch`, such as "
                f"keras_dawn.data.DeviceImages, got {type(self.data).__name__}."
            )
        check_order(self.data, "The augmented data")


def fixed_views(images, flip, shift):
    """The views as pairs of a weight and images; the weights add up to 1.

    Args:
        images: tensor `(batch, height, width, channels)`, or channels first.
        flip: bool. shift: int.
    """
    rows = _rows()
    views = [(1.0, images)]
    if shift:
        corners = [_moved(images, rows, shift, towards) for towards in (1, -1)]
        # Half for the image in place, a quarter for each corner, as in Jordan's code.
        views = [(0.5, images), *((0.25, corner) for corner in corners)]
    if flip:
        views = [(weight / 2, view) for weight, side in views for view in (side, mirrored(side))]
    return views


def check_images(images, views):
    """Raises `ValueError` for a batch of something else where views are to be made of it."""
    if (views.flip or views.shift) and getattr(images, "ndim", None) != 4:
        shape = getattr(images, "shape", None)
        found = type(images).__name__ if shape is None else f"a batch of shape {tuple(shape)}"
        raise ValueError(
            "Views are of images (batch, height, width, channels), or channels first, got "
            f"{found}. For other data use `model.predict`."
        )


def mirrored(images):
    """The mirror images, left for right."""
    return images.flip(_rows() + 1)


def _rows():
    """Which axis of images their rows are."""
    return 1 if keras.config.image_data_format() == "channels_last" else 2


def _moved(images, rows, shift, towards):
    """Images moved by `shift` pixels towards a corner (1: the first, -1: the last)."""
    for axis in (rows, rows + 1):
        size = images.shape[axis]
        place = (torch.arange(size, device=images.device) + towards * shift).abs()
        place = torch.where(place < size, place, 2 * (size - 1) - place)  # reflected
        images = images.index_select(axis, place)
    return images


def check_order(data, name):
    """Raises `ValueError` for data whose images come in a new order each time."""
    sampler = getattr(data, "sampler", None)
    if isinstance(sampler, RandomSampler) or getattr(sampler, "shuffles", False):
        raise ValueError(f"{name} shuffles itself, so its images have no fixed order.")
