"""Parts of images made blank."""

import math

from keras_dawn.data.transforms import Transform, filled
from keras_dawn.foundation.ranges import check_range

import torch

_ATTEMPTS = 10


class RandomErasing(Transform):
    """A blank rectangle of random area and shape in some images (Zhong et al., arXiv:1708.04896).

    Drawn as `torchvision.transforms.v2.RandomErasing` draws it.

    Args:
        probability: float in [0, 1], of an image to get one.
        scale: `(low, high)`, the fraction of the image's area.
        ratio: `(low, high)`, height over width.
        value: fill value, on the scale that images have at this place of the list: after
            `Normalize`, 0 is the mean colour.

    Raises:
        ValueError: numbers out of range, or no pairs of them; when called, a `value` that is none
            of the images' scale.

    Example:
        >>> keras_dawn.data.RandomErasing(0.25)
        RandomErasing(probability=0.25, value=0, scale=(0.02, 0.33), ratio=(0.3, 3.3))
    """

    is_random = True

    def __init__(self, probability=0.5, scale=(0.02, 0.33), ratio=(0.3, 3.3), value=0):
        if not 0 <= probability <= 1:
            raise ValueError(f"`probability` must be in [0, 1], got {probability!r}.")
        self.probability, self.value = probability, value
        self.scale, self.ratio = check_range("scale", scale, most=1), check_range("ratio", ratio)

    def __call__(self, images, random):
        top, left, down, across = self.boxes(images.shape[1], images.shape[2], random)
        chosen = random.uniform() < self.probability
        rows = _between(images.shape[1], top, down) & chosen[:, None]
        columns = _between(images.shape[2], left, across)
        covered = rows[:, :, None] & columns[:, None, :]
        return filled(images, covered, self.value)

    def boxes(self, height, width, random):
        """`(top, left, height, width)`, int64 `(batch,)` each: the first of ten tries that fits.

        Where none does the height is 0.
        """
        found = None
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for _ in range(_ATTEMPTS):
            area = height * width * random.uniform(*self.scale)
            ratio = random.uniform(low, high).exp()
            down, across = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
            fits = (down < height) & (across < width)
            box = torch.stack([down, across]) * fits
            # All ten tries for all images: to ask which images still need one would wait for the
            # device.
            found = box if found is None else torch.where(found[0] > 0, found, box)
        down, across = found.long()
        top = (random.uniform() * (height - down + 1)).long()
        left = (random.uniform() * (width - across + 1)).long()
        return top, left, down, across


def _between(size, start, length):
    place = torch.arange(size, device=start.device) - start[:, None]
    return (place >= 0) & (place < length[:, None])
