"""Convolutions of each channel for itself, where oneDNN has no fast kernel for a stage."""

from dataclasses import replace

from keras_dawn.convolutions.copies import parts
from keras_dawn.convolutions.torchs_own import TorchsOwn
from keras_dawn.convolutions.way import Way, empty, planes, rows

import torch
import torch.nn.functional as F

_OWN = TorchsOwn("torch")
MOST_BYTES = 2 * 2**20  # of images that are copied at a time
LARGEST = 3  # pixels a side of a kernel that oneDNN is fast for


class KernelInParts(Way):
    """The gradient to the weights, for at most 3 × 3 of them at a time, with the zeros copied.

    Some images at a time: the copies stay small and near the processor.

    oneDNN's fast kernel takes small kernels that are nowhere larger than the image; the images
    with zeros around, shifted by as much as a part of the kernel begins later, are such a case.
    """

    def fits(self, sizes):
        square = sizes.kernel[0] == sizes.kernel[1] > 1
        return sizes.is_depthwise and square and sizes.dilation == (1, 1)

    def to_weight(self, images, change, sizes):
        height, width = (size + 2 * zeros for size, *_, zeros, _ in sizes.axes())
        each = height * width * sizes.channels * images.element_size()
        pieces = parts((images, change), each, MOST_BYTES)
        found = torch.stack([self._to_weight(*some, sizes) for some in pieces])
        return planes(found.sum(0))  # in float32, as torch adds up half precision

    def _to_weight(self, images, change, sizes):
        """`(filters, rows, columns, 1)`, of some of the images."""
        down, across = sizes.padding
        padded = F.pad(rows(images), (0, 0, across, across, down, down))
        found = change.new_empty(sizes.filters, *sizes.kernel, 1)
        for tops, shown, height in _parts(0, sizes):
            for lefts, beside, width in _parts(1, sizes):
                part = planes(padded[:, shown, beside].contiguous())
                small = sizes.without_padding(tuple(part.shape[2:]), (height, width))
                small = replace(small, batch=len(images))
                found[:, tops, lefts] = rows(_OWN.to_weight(part, change, small))
        return found


def _parts(axis, sizes):
    """`(kernel's pixels, image's pixels, how many of the kernel's)` of each part of an axis."""
    reach = (sizes.result[axis] - 1) * sizes.stride[axis]
    for start in range(0, sizes.kernel[axis], LARGEST):
        count = min(LARGEST, sizes.kernel[axis] - start)
        yield slice(start, start + count), slice(start, start + reach + count), count


class InFloat32(Way):
    """torch's own in float32, for half precision, some images at a time."""

    precisions = ("bfloat16",)

    def fits(self, sizes):
        return sizes.is_depthwise

    def forward(self, images, weight, sizes):
        return self._by_image("forward", images, weight, sizes)

    def to_input(self, change, weight, sizes):
        return self._by_image("to_input", change, weight, sizes)

    def _by_image(self, stage, given, weight, sizes):
        result, weight = empty(sizes, stage, given), weight.float()
        each = (given.numel() + result.numel()) // len(given) * weight.element_size()
        for some, part in parts((given, result), each, MOST_BYTES):
            few = replace(sizes, batch=len(some))
            part.copy_(getattr(_OWN, stage)(some.float(), weight, few))
        return result
