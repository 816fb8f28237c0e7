"""Several small images side by side as one wide one."""

from dataclasses import replace

from keras_dawn.convolutions.added_up import added_up
from keras_dawn.convolutions.copies import parts, room, stage_bytes
from keras_dawn.convolutions.torchs_own import TorchsOwn, turned
from keras_dawn.convolutions.way import Way, empty, planes, rows

import torch

_OWN = TorchsOwn("torch")


class Beside(Way):
    """torch's own convolution of images side by side, with columns of zeros between them.

    Args:
        name: str.
        count: int, how many are put beside each other at most: as many as divide the batch, and
            half of it at least. Where there is no `room` for all copies, some such groups are
            copied at a time.
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
        return self._convolved("forward", images, weight, sizes)

    def to_input(self, change, weight, sizes):
        return self._convolved("to_input", change, turned(weight), sizes)

    def _convolved(self, stage, images, weight, sizes):
        count, between = self._how_many(sizes.batch), sizes.padding[1]
        result = empty(sizes, stage, images)
        for some, part in self._parts(stage, (images, result), sizes):
            wide = _beside(some, count, between)
            found = torch.conv2d(wide, weight, None, 1, sizes.padding, sizes.dilation)
            _apart(found, count, part, between)
        return result

    def to_weight(self, images, change, sizes):
        count, between = self._how_many(sizes.batch), sizes.padding[1]
        pieces = list(self._parts("to_weight", (images, change), sizes))
        products = (
            self._of_some(*(_beside(one, count, between) for one in some), sizes) for some in pieces
        )
        return added_up(products, len(pieces))

    def _of_some(self, wide, change, sizes):
        return _OWN.to_weight(
            wide, change, replace(sizes, batch=len(wide), image=tuple(wide.shape[2:]))
        )

    def _parts(self, stage, tensors, sizes):
        """The tensors, some groups of images at a time that are put beside each other."""
        count = self._how_many(sizes.batch)
        # Both the images and the result have copies, with columns of zeros.
        both = sum(stage_bytes(one, sizes, tensors[0]) for one in ("forward", "to_input"))
        width = sizes.image[1]
        wide = both * (width + sizes.padding[1]) // width * count // sizes.batch
        if stage == "to_weight":
            wide += wide // 2  # oneDNN turns one of the two around
        groups = [one.unflatten(0, (-1, count)) for one in tensors]
        for some in parts(groups, wide, room(stage, sizes, tensors[0])):
            yield [one.flatten(0, 1) for one in some]


def _beside(images, count, between):
    """`count` images beside each other, each with columns of zeros after it."""
    batch, channels, height, width = images.shape
    wide = images.new_empty(batch // count, height, count, width + between, channels)
    # The zeros between are the padding of both neighbours at once.
    wide[:, :, :, width:].zero_()
    groups = rows(images).view(batch // count, count, height, width, channels)
    wide[:, :, :, :width].copy_(groups.transpose(1, 2))
    return planes(wide.view(batch // count, height, count * (width + between), channels))


def _apart(wide, count, apart, between):
    """Writes the images that were beside each other to `apart`."""
    height, width = apart.shape[2:]
    places = rows(wide).view(len(wide), height, count, width + between, -1)
    target = rows(apart).view(len(wide), count, height, width, -1)
    target.copy_(places[:, :, :, :width].transpose(1, 2))
