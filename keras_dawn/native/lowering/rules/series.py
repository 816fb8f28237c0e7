"""Convolutions of series as convolutions of images of one row, or as products of matrices.

torch keeps the channels innermost in memory for images and volumes only; for series it copies
them. On a CPU that made a step 1.2 to 4 times slower.
"""

from keras_dawn.convolutions import conv2d
from keras_dawn.convolutions.precisions import products_are_rounded

import torch
import torch.nn.functional as F


def conv1d(series, kernel, *settings, relu=False):
    """What `torch.conv1d` computes, of series `(batch, channels, time)`; all its arguments.

    With `relu`, the ReLU of it.
    """
    return _convolved(torch.conv2d, series, kernel, *settings, relu)


def conv1d_by_ways(series, kernel, *settings, relu=False):
    """`conv1d` by the ways of `keras_dawn.convolutions`."""
    return _convolved(conv2d, series, kernel, *settings, relu)


def product(series, kernel, bias, relu=False):
    """`conv1d` with a kernel of one step: each step is multiplied by a matrix, all at once.

    A convolution it is where torch is asked to round what is multiplied, which is another switch.
    """
    if not torch.compiler.is_compiling() and products_are_rounded(kernel.dtype):
        return conv1d(series, kernel, bias, (1,), (0,), (1,), 1, relu=relu)
    steps = series.mT
    outputs = F.linear(steps.flatten(0, 1), kernel.squeeze(2), bias)
    return (torch.relu_(outputs) if relu else outputs).unflatten(0, steps.shape[:2]).mT


def _convolved(convolve, series, kernel, bias, stride, padding, dilation, groups, relu):
    images = convolve(
        series.unsqueeze(2),
        kernel.unsqueeze(2),
        bias,
        (1, *stride),
        (0, *padding),
        (1, *dilation),
        groups,
    )
    # Before the view: autograd copies what is written through one.
    return (torch.relu_(images) if relu else images).squeeze(2)
