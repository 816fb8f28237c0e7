"""A convolution of single pixels is a product of matrices as it is."""

from keras_dawn.convolutions.way import Way, empty, matrix, pixels, planes, rows

import torch


class Pointwise(Way):
    """1 × 1 convolutions as products, under strides of the pixels that these leave."""

    def fits(self, sizes):
        return super().fits(sizes) and sizes.is_pointwise

    def forward(self, images, weight, sizes):
        result = empty(sizes, "forward", images)
        torch.mm(_kept(images, sizes), matrix(weight).t(), out=pixels(result))
        return result

    def to_input(self, change, weight, sizes):
        result = empty(sizes, "to_input", change)
        if sizes.stride == (1, 1):
            torch.mm(pixels(change), matrix(weight), out=pixels(result))
            return result
        product = pixels(change) @ matrix(weight)
        down, across = sizes.stride
        # Pixels that the strides leave out had no part in the result.
        places = rows(result.zero_())[:, ::down, ::across]
        places.copy_(product.view(places.shape))
        return result

    def to_weight(self, images, change, sizes):
        return _to_weight(images, pixels(change).t(), sizes)


class PointwiseTransposedFirst(Way):
    """The gradient to the weights alone, with the result's gradient transposed by a copy before.

    For the reason of `TransposedFirst`.
    """

    def fits(self, sizes):
        return super().fits(sizes) and sizes.is_pointwise

    def to_weight(self, images, change, sizes):
        return _to_weight(images, pixels(change).t().contiguous(), sizes)


def _to_weight(images, transposed, sizes):
    product = transposed @ _kept(images, sizes)
    return planes(product.view(sizes.filters, 1, 1, sizes.channels))


def _kept(images, sizes):
    """The pixels that the strides leave, as a matrix."""
    down, across = sizes.stride
    return rows(images)[:, ::down, ::across].reshape(-1, sizes.channels)
