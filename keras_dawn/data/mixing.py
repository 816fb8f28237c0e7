"""Mixing the images of a batch with one another, labels included."""

from keras_dawn.data.transforms import BatchTransform, to_unit_range

import numpy as np
import torch


class MixUp(BatchTransform):
    """Blends each image with its neighbour in the batch (Zhang et al. 2017, arXiv:1710.09412).

    Needs labels as class probabilities: `transforms=[..., OneHot(10), MixUp(0.2)]`.

    Args:
        alpha: float above 0; the blend's weight is drawn from Beta(alpha, alpha), once a batch.

    Raises:
        ValueError: `alpha` of 0 or less.
    """

    is_random = True
    needs_probabilities = True
    drawn = 1

    def __init__(self, alpha=0.2):
        _check_alpha(alpha)
        self.alpha = alpha

    def draw(self, entropy, size):
        # NumPy's: torch's Beta takes no generator of its own.
        return [float(np.random.default_rng(entropy).beta(self.alpha, self.alpha))]

    def mixed(self, images, labels, numbers):
        (weight,) = numbers
        images = to_unit_range(images)
        other = images.roll(1, 0)
        return torch.lerp(other, images, weight), torch.lerp(labels.roll(1, 0), labels, weight)


class CutMix(BatchTransform):
    """Pastes a rectangle of the neighbour in the batch (Yun et al. 2019, arXiv:1905.04899).

    Needs labels as class probabilities, as `MixUp` does.

    Args:
        alpha: float above 0; the fraction of the image that stays is drawn from
            Beta(alpha, alpha), once a batch.

    Raises:
        ValueError: `alpha` of 0 or less.
    """

    is_random = True
    needs_probabilities = True
    drawn = 5

    def __init__(self, alpha=1.0):
        _check_alpha(alpha)
        self.alpha = alpha

    def draw(self, entropy, size):
        random = np.random.default_rng(entropy)
        height, width = size
        side = np.sqrt(1 - random.beta(self.alpha, self.alpha))
        middle = random.integers(height), random.integers(width)
        (top, bottom), (left, right) = (
            (max(0, int(m - side * pixels / 2)), min(pixels, int(m + side * pixels / 2)))
            for m, pixels in zip(middle, size, strict=True)
        )
        stays = 1 - (bottom - top) * (right - left) / (height * width)  # what was really cut
        return [top, bottom, left, right, stays]

    def mixed(self, images, labels, numbers):
        top, bottom, left, right, stays = numbers
        row, column = (torch.arange(pixels, device=images.device) for pixels in images.shape[1:3])
        rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
        cut = (rows[:, None] & columns)[:, :, None]
        images = torch.where(cut, images.roll(1, 0), images)
        return images, torch.lerp(labels.roll(1, 0), labels, stays)


def _check_alpha(alpha):
    if alpha <= 0:
        raise ValueError(f"`alpha` must be above 0, got {alpha}.")
