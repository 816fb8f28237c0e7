"""The gradient to a convolution's images as one product, whose columns are added up in place."""

from keras_dawn.convolutions.copies import parts, room
from keras_dawn.convolutions.way import Way, empty, matrix, pixels, rows


class Folded(Way):
    """The result's gradient times the kernels, each window added to the pixels it came from.

    What is known as col2im, and as `torch.nn.Fold`. It copies nothing before the product, which
    pays where the kernel is small and has more filters than channels: series, above all.
    """

    precisions = ("float32",)  # half precision would round each product before they are added up

    def fits(self, sizes):
        return super().fits(sizes) and not sizes.is_pointwise

    def to_input(self, change, weight, sizes):
        result = empty(sizes, "to_input", change)
        kernels = matrix(weight)
        windows = sizes.result[0] * sizes.result[1] * kernels.shape[1] * change.element_size()
        for some, part in parts((change, result), windows, room("to_input", sizes, change)):
            products = (pixels(some) @ kernels).view(
                -1, *sizes.result, *sizes.kernel, sizes.channels
            )
            self._fold(products, rows(part), sizes)
        return result

    def _fold(self, products, images, sizes):
        (down, across), (above, left) = sizes.stride, sizes.padding
        height, width = (size + 2 * padding for size, _, _, padding, _ in sizes.axes())
        padded = sizes.padding != (0, 0)
        shape = len(products), height, width, sizes.channels
        total = products.new_zeros(shape) if padded else images.zero_()
        for row in range(sizes.kernel[0]):
            for column in range(sizes.kernel[1]):
                top, start = row * sizes.dilation[0], column * sizes.dilation[1]
                bottom = top + down * (sizes.result[0] - 1) + 1
                stop = start + across * (sizes.result[1] - 1) + 1
                total[:, top:bottom:down, start:stop:across].add_(products[:, :, :, row, column])
        if padded:
            images.copy_(total[:, above : height - above, left : width - left])
