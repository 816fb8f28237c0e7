"""The stages of a convolution as operations that `torch.compile` leaves as they are."""

from collections.abc import Sequence

from keras_dawn.convolutions.choice import table_in_use, way_of
from keras_dawn.convolutions.precisions import PRECISIONS, products_are_rounded
from keras_dawn.convolutions.sizes import Sizes
from keras_dawn.convolutions.way import dense, empty
from keras_dawn.convolutions.ways import TORCH, WAYS

import torch


def conv2d_when_compiled(images, weight, bias, stride, padding, dilation, groups):
    """What `torch.conv2d` computes, each stage by its way.

    The ways are chosen when it runs: what is compiled once follows the table in use, the threads
    and the size of the batch.
    """
    result = _forward(images, weight, stride, padding, dilation, groups)
    return result if bias is None else result + bias.view(-1, 1, 1)


@torch.library.custom_op("keras_dawn::convolve", mutates_args=(), device_types="cpu")
def _forward(
    images: torch.Tensor,
    weight: torch.Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    sizes = _sizes(images.shape, weight.shape, stride, padding, dilation, groups)
    return dense(_way("forward", sizes, images).forward(dense(images), dense(weight), sizes))


@torch.library.custom_op("keras_dawn::convolve_to_input", mutates_args=(), device_types="cpu")
def _to_input(
    change: torch.Tensor,
    weight: torch.Tensor,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    sizes = _sizes(shape, weight.shape, stride, padding, dilation, groups)
    return dense(_way("to_input", sizes, change).to_input(dense(change), dense(weight), sizes))


@torch.library.custom_op("keras_dawn::convolve_to_weight", mutates_args=(), device_types="cpu")
def _to_weight(
    images: torch.Tensor,
    change: torch.Tensor,
    shape: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> torch.Tensor:
    sizes = _sizes(images.shape, shape, stride, padding, dilation, groups)
    return dense(_way("to_weight", sizes, images).to_weight(dense(images), dense(change), sizes))


def _sizes(images, weight, *settings):
    *pairs, groups = settings
    pairs = map(tuple, (images[2:], weight[2:], *pairs))
    return Sizes(images[0], images[1], weight[0], *pairs, groups)


def _way(stage, sizes, like):
    if products_are_rounded(like.dtype):
        return WAYS[TORCH]
    precision = PRECISIONS[like.dtype]
    return WAYS[way_of(stage, sizes, precision, torch.get_num_threads(), table_in_use())]


@_forward.register_fake
def _(images, weight, *settings):
    return empty(_sizes(images.shape, weight.shape, *settings), "forward", images)


@_to_input.register_fake
def _(change, weight, shape, *settings):
    return empty(_sizes(shape, weight.shape, *settings), "to_input", change)


@_to_weight.register_fake
def _(images, change, shape, *settings):
    return empty(_sizes(images.shape, shape, *settings), "to_weight", images)


def _keep(ctx, inputs, output):
    images, weight, *ctx.settings = inputs
    ctx.save_for_backward(images, weight)


def _gradients(ctx, change):
    images, weight = ctx.saved_tensors
    to_images = to_weight = None
    # First that to the weights, for the reason in `_Convolution`.
    if ctx.needs_input_grad[1]:
        to_weight = _to_weight(images, change, weight.shape, *ctx.settings)
    if ctx.needs_input_grad[0]:
        to_images = _to_input(change, weight, images.shape, *ctx.settings)
    return to_images, to_weight, None, None, None, None


_forward.register_autograd(_gradients, setup_context=_keep)
