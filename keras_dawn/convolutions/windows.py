"""A convolution as one product of matrices: the windows copied out, times the kernels."""

from keras_dawn.convolutions.added_up import added_up
from keras_dawn.convolutions.copies import MOST_BYTES, forward_windows, parts, room, stage_bytes
from keras_dawn.convolutions.stride_offsets import StrideOffsets
from keras_dawn.convolutions.taps import to_weight_by_taps
from keras_dawn.convolutions.way import Way, columns, empty, matrix, pixels, planes

import torch

FEW_WEIGHTS = 32  # times as many pixels: then products are added up in no time
FEW_CHANNELS = 128  # of a product by one place of the kernel: below it that is slow


class Windows(Way):
    """Every window of the images copied to a row of a matrix, and one product.

    The gradient to the images is the same with windows of the result's gradient and the kernels
    turned round; under strides, for each offset within them.

    Args:
        name: str.
        most_bytes: int, how large a copy may be, if there is as much `room`; above it some images
            at a time are copied, or of all images what some places of the kernel meet.
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
        each = self._bytes(sizes, sizes.channels, sizes.kernel, images)
        for some, part in parts((images, result), each, self._most("forward", sizes, images)):
            torch.mm(forward_windows(some, sizes), kernels, out=pixels(part))
        return result

    def to_input(self, change, weight, sizes):
        result = empty(sizes, "to_input", change)
        offsets = StrideOffsets(sizes)
        kernels = offsets.kernels(weight)
        each = self._bytes(sizes, sizes.filters, offsets.window, change)
        for some, part in parts((change, result), each, self._most("to_input", sizes, change)):
            offsets.write(some, kernels, part)
        return result

    def to_weight(self, images, change, sizes):
        windows = self._bytes(sizes, sizes.channels, sizes.kernel, images)
        turned = self._bytes(sizes, sizes.filters, (1, 1), images) if self._transposes else 0
        most = self._most("to_weight", sizes, images)
        at_once = self._taps_at_once(sizes, images, windows, turned, most)
        if at_once:
            return to_weight_by_taps(images, change, sizes, at_once, self._transposes)
        pieces = list(parts((images, change), windows + turned, most))
        products = (
            columns(part, self._transposes) @ forward_windows(some, sizes) for some, part in pieces
        )
        total = added_up(products, len(pieces))
        return planes(total.view(sizes.filters, *sizes.kernel, sizes.channels))

    def _taps_at_once(self, sizes, like, windows, turned, most):
        """How many places of the kernel `to_weight` takes at a time; 0 for images at a time.

        Args:
            windows, turned: int, bytes of an image's windows, and of its transposed gradient.
            most: int, how many bytes copies may have.
        """
        if sizes.batch * (windows + turned) <= most or self._most_bytes < MOST_BYTES:
            return 0
        weight, images = (stage_bytes(stage, sizes, like) for stage in ("to_weight", "to_input"))
        if FEW_WEIGHTS * weight <= images:
            return 0  # adding up costs little
        places = sizes.kernel[0] * sizes.kernel[1]
        each = sizes.batch * windows // places
        # One place is as fast as a row of them, but of few channels, and leaves more room.
        for count in (sizes.kernel[1], 1) if sizes.channels < FEW_CHANNELS else (1,):
            if count * each + sizes.batch * turned <= most:
                return count
        return 0

    def _most(self, stage, sizes, like):
        return min(self._most_bytes, room(stage, sizes, like))

    def _bytes(self, sizes, channels, window, like):
        """What the windows of one image take."""
        count = sizes.result[0] * sizes.result[1] * window[0] * window[1] * channels
        return count * like.element_size()


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
