"""Several small images side by side as one wide one."""

from dataclasses import replace

from keras_dawn.convolutions.torchs_own import TorchsOwn, turned
from keras_dawn.convolutions.way import Way, empty, planes, rows

import torch

_OWN = TorchsOwn("torch")


class Beside(Way):
    """torch's own convolution of images side by side, with columns of zeros between them.

    Args:
        name: str.
        count: int, how many are put beside each other at most: as many as divide the batch, and
            half of it at least.
    """

    def __init__(self, name, count):
        super().__init__(name)
        self._count = count

    def fits(self, sizes):
        whole = self._how_many(sizes.batch) is not None
        return super().fits(sizes) and whole and sizes.keeps_size and not sizes.is_pointwise

    def _how_many(self, batch):
        # Fewer than half as many would not be worth the copy.
        counts = range(self._count, (self._count + 1) // 2 - 1, -1)
        return next((count for count in counts if batch % count == 0), None)

    def forward(self, images, weight, sizes):
        count = self._how_many(sizes.batch)
        wide = _beside(images, count, sizes.padding[1])
        found = torch.conv2d(wide, weight, None, 1, sizes.padding, sizes.dilation)
        return _apart(found, count, sizes)

    def to_input(self, change, weight, sizes):
        back = replace(sizes, channels=sizes.filters, filters=sizes.channels)
        return self.forward(change, turned(weight), back)

    def to_weight(self, images, change, sizes):
        count, between = self._how_many(sizes.batch), sizes.padding[1]
        wide, wide_change = (_beside(one, count, between) for one in (images, change))
        sizes = replace(sizes, batch=len(wide), image=tuple(wide.shape[2:]))
        return _OWN.to_weight(wide, wide_change, sizes)


def _beside(images, count, between):
    """`count` images beside each other, each with columns of zeros after it."""
    batch, channels, height, width = images.shape
    wide = images.new_empty(batch // count, height, count, width + between, channels)
    # The zeros between are the padding of both neighbours at once.
    wide[:, :, :, width:].zero_()
    groups = rows(images).view(batch // count, count, height, width, channels)
    wide[:, :, :, :width].copy_(groups.transpose(1, 2))
    return planes(wide.view(batch // count, height, count * (width + between), channels))


def _apart(wide, count, sizes):
    """The images that were beside each other."""
    height, width = sizes.image
    places = rows(wide).view(len(wide), height, count, width + sizes.padding[1], -1)
    apart = empty(sizes, "forward", wide)
    target = rows(apart).view(len(wide), count, height, width, -1)
    target.copy_(places[:, :, :, :width].transpose(1, 2))
    return apart
