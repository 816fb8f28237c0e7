"""Which part of a photo is taken, and at which size."""

import math

from keras_dawn.data.transforms import Transform
from keras_dawn.foundation.ranges import check_range


class RandomResizedCrop(Transform):
    """A crop of random area and aspect ratio (Szegedy et al. 2014, as torchvision draws it).

    First in the `transforms=` of photos: it decides what is decoded.

    Args:
        scale: `(low, high)` in (0, 1], the fraction of the photo's area that is taken.
        ratio: `(low, high)`, its width over its height.

    Raises:
        ValueError: no pairs of numbers, bounds in the wrong order or outside their range.
    """

    is_random = True
    DRAWS = 40  # uniform numbers: ten attempts of area, ratio, left, top

    def __init__(self, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
        self.scale, self.ratio = check_range("scale", scale, most=1), check_range("ratio", ratio)

    def box(self, width, height, size, draws):
        """`(left, top, width, height)` of the crop in pixels.

        Args:
            width, height: int, the photo's.
            size: `(height, width)` that the crop will be resized to; not used.
            draws: `DRAWS` floats, uniform in [0, 1).
        """
        # Even in the logarithm: 4 : 3 is as likely as 3 : 4.
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for attempt in range(0, self.DRAWS, 4):
            # All draws are made beforehand, also for attempts that are not needed: no photo's shape
            # changes the random numbers of the next one.
            area, ratio, left, top = draws[attempt : attempt + 4]
            area = width * height * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = math.exp(low + ratio * (high - low))
            across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < across <= width and 0 < down <= height:
                return (
                    int(left * (width - across + 1)),
                    int(top * (height - down + 1)),
                    across,
                    down,
                )
        return _centred(width, height, *_limited(width, height, self.ratio))


class CenterCrop(Transform):
    """The middle of the photo, as if it were resized and then cropped; never distorted.

    First in the `transforms=` of photos: it decides what is decoded.

    Args:
        resize_ratio: float from 1 up; the photo's short side becomes `int(resize_ratio *
            short side of the result)` before the crop (1.14 in fast.ai's entry: 256 / 224).
    """

    DRAWS = 0

    def __init__(self, resize_ratio=1.14):
        if resize_ratio < 1:
            raise ValueError(f"`resize_ratio` must be 1 or more, got {resize_ratio}.")
        self.resize_ratio = resize_ratio

    def box(self, width, height, size, draws):
        """`(left, top, width, height)` of the crop in pixels; see `RandomResizedCrop.box`."""
        shrink = int(self.resize_ratio * min(size)) / min(width, height)
        # A long result of a photo that is less so takes all of one side: it is covered.
        shrink = max(shrink, size[0] / height, size[1] / width)
        across = min(round(size[1] / shrink), width)
        down = min(round(size[0] / shrink), height)
        return _centred(width, height, max(across, 1), max(down, 1))


def rectangle(size, aspect_ratio):
    """`(height, width)` of a rectangular evaluation, in multiples of 8 (imagenet18, 2018).

    Args:
        size: int, pixels of the short side.
        aspect_ratio: float, mean width over height of the batch.
    """
    if aspect_ratio < 1:
        # Multiples of 8, as half-precision kernels like them; and fewer shapes come up.
        return max(int(size / aspect_ratio) // 8 * 8, 8), size
    return size, max(int(size * aspect_ratio) // 8 * 8, 8)


def _limited(width, height, ratio):
    """The largest part of a photo whose aspect ratio is within bounds."""
    if width / height < ratio[0]:
        return width, min(round(width / ratio[0]), height)
    if width / height > ratio[1]:
        return min(round(height * ratio[1]), width), height
    return width, height


def _centred(width, height, across, down):
    return (width - across) // 2, (height - down) // 2, across, down
