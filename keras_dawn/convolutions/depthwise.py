"""Convolutions of each channel for itself, where oneDNN has no fast kernel for a stage."""

from keras_dawn.convolutions.torchs_own import TorchsOwn
from keras_dawn.convolutions.way import Way, planes, rows

import torch.nn.functional as F

_OWN = TorchsOwn("torch")
LARGEST = 3  # pixels a side of a kernel that oneDNN is fast for


class KernelInParts(Way):
    """The gradient to the weights, for at most 3 × 3 of them at a time, with the zeros copied.

    oneDNN's fast kernel takes small kernels that are nowhere larger than the image; the images
    with zeros around, shifted by as much as a part of the kernel begins later, are such a case.
    """

    def fits(self, sizes):
        square = sizes.kernel[0] == sizes.kernel[1] > 1
        return sizes.is_depthwise and square and sizes.dilation == (1, 1)

    def to_weight(self, images, change, sizes):
        down, across = sizes.padding
        padded = F.pad(rows(images), (0, 0, across, across, down, down))
        found = change.new_empty(sizes.filters, *sizes.kernel, 1)
        for tops, shown, height in _parts(0, sizes):
            for lefts, beside, width in _parts(1, sizes):
                part = planes(padded[:, shown, beside].contiguous())
                small = sizes.without_padding(tuple(part.shape[2:]), (height, width))
                found[:, tops, lefts] = rows(_OWN.to_weight(part, change, small))
        return planes(found)


def _parts(axis, sizes):
    """`(kernel's pixels, image's pixels, how many of the kernel's)` of each part of an axis."""
    reach = (sizes.result[axis] - 1) * sizes.stride[axis]
    for start in range(0, sizes.kernel[axis], LARGEST):
        count = min(LARGEST, sizes.kernel[axis] - start)
        yield slice(start, start + count), slice(start, start + reach + count), count


class InFloat32(Way):
    """torch's own in float32, for half precision."""

    precisions = ("bfloat16",)

    def fits(self, sizes):
        return sizes.is_depthwise

    def forward(self, images, weight, sizes):
        return _OWN.forward(images.float(), weight.float(), sizes).to(images.dtype)

    def to_input(self, change, weight, sizes):
        return _OWN.to_input(change.float(), weight.float(), sizes).to(change.dtype)

    def to_weight(self, images, change, sizes):
        return _OWN.to_weight(images.float(), change.float(), sizes).to(images.dtype)
