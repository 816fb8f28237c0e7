"""A convolution as one product of matrices: the windows copied out, times the kernels."""

from keras_dawn.convolutions.copies import MOST_BYTES, forward_windows, parts
from keras_dawn.convolutions.stride_offsets import StrideOffsets
from keras_dawn.convolutions.way import Way, empty, matrix, pixels, planes

import torch


class Windows(Way):
    """Every window of the images copied to a row of a matrix, and one product.

    The gradient to the images is the same with windows of the result's gradient and the kernels
    turned round; under strides, for each offset within them.

    Args:
        name: str.
        most_bytes: int, how large a copy may be; above it some images at a time are copied.
        transposes: bool, whether `to_weight` transposes by a copy first: see `TransposedFirst`.
    """

    def __init__(self, name, most_bytes=MOST_BYTES, transposes=False):
        super().__init__(name)
        self._most_bytes, self._transposes = most_bytes, transposes

    def fits(self, sizes):
        plain = sizes.stride == (1, 1) or sizes.dilation == (1, 1)
        return super().fits(sizes) and not sizes.is_pointwise and plain

    def forward(self, images, weight, sizes):
        result = empty(sizes, "forward", images)
        kernels = matrix(weight).t()
        for some, part in self._parts((images, result), sizes.channels, sizes.kernel, sizes):
            torch.mm(forward_windows(some, sizes), kernels, out=pixels(part))
        return result

    def to_input(self, change, weight, sizes):
        result = empty(sizes, "to_input", change)
        offsets = StrideOffsets(sizes)
        kernels = offsets.kernels(weight)
        for some, part in self._parts((change, result), sizes.filters, offsets.window, sizes):
            offsets.write(some, kernels, part)
        return result

    def to_weight(self, images, change, sizes):
        total = None
        for some, part in self._parts((images, change), sizes.channels, sizes.kernel, sizes):
            transposed = pixels(part).t()
            if self._transposes:
                transposed = transposed.contiguous()  # the smaller operand of the two
            product = transposed @ forward_windows(some, sizes)
            if len(some) < len(images) and product.dtype == torch.bfloat16:
                product = product.float()  # to be added up
            total = product if total is None else total.add_(product)
        total = total.to(images.dtype).view(sizes.filters, *sizes.kernel, sizes.channels)
        return planes(total)

    def _parts(self, tensors, channels, window, sizes):
        count = sizes.result[0] * sizes.result[1] * window[0] * window[1] * channels
        return parts(tensors, count * tensors[0].element_size(), self._most_bytes)


class TransposedFirst(Way):
    """The gradient to the weights alone, with the result's gradient transposed beforehand.

    Products in half precision are slow where what is summed over are the rows of both matrices.
    """

    def __init__(self, name, most_bytes=MOST_BYTES):
        super().__init__(name)
        self._windows = Windows(name, most_bytes, transposes=True)

    def fits(self, sizes):
        return self._windows.fits(sizes)

    def to_weight(self, images, change, sizes):
        return self._windows.to_weight(images, change, sizes)
