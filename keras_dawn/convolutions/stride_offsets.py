"""The gradient to a convolution's images, for each offset within the strides."""

from keras_dawn.convolutions.copies import windows
from keras_dawn.convolutions.torchs_own import turned
from keras_dawn.convolutions.way import pixels, rows

import torch


class StrideOffsets:
    """How a result's gradient becomes that of the images.

    Pixel `stride · j + offset` of the images is in the windows of few pixels of the result, whose
    distances from `j` depend on the offset alone. So windows of the result's gradient, times one
    matrix, give the images' gradient, all offsets of one `j` beside each other.

    Args:
        sizes: `Sizes`, with a stride or a dilation of 1.

    Attributes:
        window: `(rows, columns)` of the result's gradient that a `j` needs.
    """

    def __init__(self, sizes):
        self.sizes = sizes
        self.axes = [
            _Axis(*axis, result) for axis, result in zip(sizes.axes(), sizes.result, strict=True)
        ]
        self.window = tuple(axis.window for axis in self.axes)

    def kernels(self, weight):
        """The matrix `(window · filters, offsets · channels)`."""
        sizes = self.sizes
        if sizes.stride == (1, 1):
            return rows(turned(weight)).reshape(sizes.channels, -1).t()
        kernel = rows(weight)
        shape = *self.window, sizes.filters, *sizes.stride, sizes.channels
        # Zeros where a phase does not meet a tap of the kernel.
        found = kernel.new_zeros(shape)
        down, across = self.axes
        for row, place, offset in down.taps:
            for column, other_place, other_offset in across.taps:
                found[place, other_place, :, offset, other_offset] = kernel[:, row, column]
        return found.view(self.window[0] * self.window[1] * sizes.filters, -1)

    def write(self, change, kernels, result):
        """Writes the images' gradient to `result`, from the result's gradient `change`."""
        down, across = self.axes
        found = (down.places, across.places)
        dilation = self.sizes.dilation
        columns = windows(
            rows(change), (*down.padding, *across.padding), found, self.window, dilation=dilation
        )
        if self.sizes.stride == (1, 1):
            torch.mm(columns, kernels, out=pixels(result))
            return
        shifted = (columns @ kernels).view(len(change), *found, *self.sizes.stride, -1)
        shifted = shifted.transpose(2, 3)
        height, width = result.shape[2:]
        target = rows(result)
        if (height, width) == (down.places * down.stride, across.places * across.stride):
            target.view(shifted.shape).copy_(shifted)
        else:
            target.copy_(shifted.flatten(1, 2).flatten(2, 3)[:, :height, :width])


class _Axis:
    """One axis: for `j` in `range(places)`, its pixels and what of the result they need.

    Attributes:
        taps: list of `(kernel's place, window's place, offset)`.
        window: int, how many pixels of the result a `j` needs, `dilation` apart.
        padding: `(before, after)` of the result's gradient.
    """

    def __init__(self, size, kernel, stride, padding, dilation, result):
        self.stride = stride
        self.places = -(-size // stride)
        distances = [
            (tap, (offset + padding - tap * dilation) // stride, offset)
            for tap in range(kernel)
            for offset in range(stride)
            if (offset + padding - tap * dilation) % stride == 0
        ]
        least = min(distance for _, distance, _ in distances)
        most = max(distance for _, distance, _ in distances)
        self.window = (most - least) // dilation + 1
        self.taps = [
            (tap, (distance - least) // dilation, offset) for tap, distance, offset in distances
        ]
        self.padding = -least, self.places - 1 + most - (result - 1)
