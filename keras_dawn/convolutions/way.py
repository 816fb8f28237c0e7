"""What every way of computing a convolution has in common."""

from keras_dawn.convolutions.precisions import PRECISIONS

import torch

STAGES = ("forward", "to_input", "to_weight")  # the result, and the two gradients
PLAIN = {torch.Tensor, torch.nn.Parameter}  # another class has functions of its own


class Way:
    """One way to compute a convolution, or some of its three stages.

    All tensors are in torch's order of axes and lie in memory with the channels innermost. A way
    has those of these methods that it is a way for:

    * `forward(images, weight, sizes)`: the result, without bias.
    * `to_input(change, weight, sizes)`: the gradient to the images; `change` is the result's.
    * `to_weight(images, change, sizes)`: the gradient to the weights.

    Args:
        name: str, which the tables know it by.

    Attributes:
        precisions: what tables may name it for.
    """

    precisions = tuple(PRECISIONS.values())

    def __init__(self, name):
        self.name = name

    def fits(self, sizes):
        """Whether it computes convolutions of these `Sizes`."""
        return sizes.groups == 1

    def takes(self, stage, sizes):
        """Whether it computes this stage of a convolution of these `Sizes`."""
        return hasattr(self, stage) and self.fits(sizes)


def rows(tensor):
    """`(batch, channels, height, width)` as `(batch, height, width, channels)`: a view."""
    return tensor.permute(0, 2, 3, 1)


def planes(tensor):
    """`(batch, height, width, channels)` as `(batch, channels, height, width)`: a view."""
    return tensor.permute(0, 3, 1, 2)


def pixels(tensor):
    """`(batch, channels, height, width)` as a matrix `(pixels, channels)`: a view."""
    return rows(tensor).view(-1, tensor.shape[1])


def columns(tensor, copied):
    """The same as a matrix `(channels, pixels)`: a view, or copied to rows of pixels."""
    found = pixels(tensor).t()
    return found.contiguous() if copied else found


def matrix(weight):
    """`(filters, channels, height, width)` as `(filters, height · width · channels)`: a view."""
    return rows(weight).view(len(weight), -1)


def empty(sizes, stage, like):
    """Memory for what a stage gives, channels innermost.

    Not a view: only then may what an autograd function returns be overwritten in place.
    """
    shape = sizes.shape(stage)
    channels, height, width = shape[1:]
    strides = height * width * channels, 1, width * channels, channels
    return torch.empty_strided(shape, strides, dtype=like.dtype, device=like.device)


def dense(tensor):
    """The tensor with the channels innermost in memory: itself, or a copy."""
    return tensor if rows(tensor).is_contiguous() else planes(rows(tensor).contiguous())
