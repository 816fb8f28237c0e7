"""torch's own convolution."""

import math

from keras_dawn.convolutions.way import Way, dense, planes, rows

import torch


class TorchsOwn(Way):
    """What `torch.conv2d` and its backward pass call: oneDNN's kernels."""

    def fits(self, sizes):
        return True

    def forward(self, images, weight, sizes):
        settings = sizes.stride, sizes.padding, sizes.dilation, sizes.groups
        return torch.conv2d(images, weight, None, *settings)

    def to_input(self, change, weight, sizes):
        images = _lent(sizes.shape("to_input"), change)
        return gradients(change, images, weight, sizes, (True, False, False))[0]

    def to_weight(self, images, change, sizes):
        weight = _lent(sizes.shape("to_weight"), change)
        return gradients(change, images, weight, sizes, (False, True, False))[1]


def _lent(shape, change):
    """A tensor of which torch reads nothing but the shape and the layout, channels innermost.

    Args:
        shape: its `(batch, channels, height, width)`.
        change: dense tensor whose memory it is given if that is large enough.
    """
    in_memory = shape[0], *shape[2:], shape[1]
    count = math.prod(shape)
    if count <= change.numel():
        return planes(rows(change).view(-1)[:count].view(in_memory))
    return planes(change.new_empty(in_memory))


def gradients(change, images, weight, sizes, wanted):
    """The gradients to images, weight and bias, by torch's own; `None` for what is not wanted."""
    return torch.ops.aten.convolution_backward(
        change,
        images,
        weight,
        [sizes.filters],
        sizes.stride,
        sizes.padding,
        sizes.dilation,
        False,
        (0, 0),
        sizes.groups,
        wanted,
    )


class Turned(Way):
    """The gradient to the images as a convolution of the result's gradient with a turned kernel."""

    def fits(self, sizes):
        return super().fits(sizes) and sizes.keeps_size and not sizes.is_pointwise

    def to_input(self, change, weight, sizes):
        found = torch.conv2d(change, turned(weight), None, 1, sizes.padding, sizes.dilation)
        return dense(found)


def turned(weight):
    """The kernel turned round, of filters and channels exchanged: `(channels, filters, …)`.

    It is put together from whole rows of channels, which copying by strides would not be.
    """
    kernel = rows(weight)
    filters, height, width, channels = kernel.shape
    parts = [kernel[:, i, j] for i in reversed(range(height)) for j in reversed(range(width))]
    whole = torch.cat(parts) if len(parts) > 1 else parts[0]
    return whole.view(height, width, filters, channels).permute(3, 2, 0, 1)
