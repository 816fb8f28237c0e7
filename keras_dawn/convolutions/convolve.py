"""`torch.conv2d` on a CPU, each of its three stages by the way that the table in use names."""

import functools
from typing import NamedTuple

from keras_dawn.convolutions.choice import table_in_use, way_of
from keras_dawn.convolutions.compiled import conv2d_when_compiled
from keras_dawn.convolutions.precisions import PRECISIONS, products_are_rounded
from keras_dawn.convolutions.sizes import Sizes
from keras_dawn.convolutions.torchs_own import gradients
from keras_dawn.convolutions.way import PLAIN, STAGES, Way, dense
from keras_dawn.convolutions.ways import TORCH, WAYS

import torch

LEAST_CHANNELS = 32  # of the images and of the result: torch's own is the fastest with fewer


def conv2d(images, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """What `torch.conv2d` computes, to rounding; on a CPU maybe by a faster way.

    The way of each stage (the result, the gradient to the images, the gradient to the weights)
    depends on the shapes, the precision, how many threads there are and the kind of processor:
    see `keras_dawn.convolutions.use_table`. torch's own computes in other precisions than float32
    and bfloat16, on other devices, tensors of classes of their own, under autocast, in `torch.func`
    and forward differentiation, what is exported or traced, the gradients of gradients, and many
    gradients at once (`is_grads_batched`). In `torch.compile` each stage is an operation of its
    own, which has no gradients of gradients.

    An infinity or a NaN may make more of its own image's result, or gradient, NaN than by torch's
    own: some ways multiply it by zeros, too.

    Args:
        images: tensor `(batch, channels, height, width)`, best in channels_last memory format.
        weight: tensor `(filters, channels / groups, rows, columns)`.
        bias: tensor `(filters,)`, or `None`.
        stride, padding, dilation: `(rows, columns)`; whatever else torch takes is left to it.
        groups: int.

    Returns:
        Tensor `(batch, filters, height, width)`; by another way than torch's own its channels lie
        innermost in memory.

    Example:
        >>> images, weight = torch.ones(64, 32, 4, 4), torch.ones(32, 32, 3, 3)
        >>> float(conv2d(images, weight, padding=(1, 1))[0, 0, 1, 1])
        288.0
    """
    plan = None
    if torch.compiler.is_compiling():
        settings = stride, padding, dilation, groups
        if _may_be_opaque(images, weight, bias, *settings):
            return conv2d_when_compiled(images, weight, bias, *settings)
    else:
        plan = _plan_for(images, weight, bias, stride, padding, dilation, groups)
    if plan is None:
        return torch.conv2d(images, weight, bias, stride, padding, dilation, groups)
    if torch.is_grad_enabled() and (
        images.requires_grad or weight.requires_grad or (bias is not None and bias.requires_grad)
    ):
        return _Convolution.apply(images, weight, bias, plan)
    return _forward(images, weight, bias, plan)


conv2d.__module__ = "keras_dawn.convolutions"  # as it is named in generated code


def may_gain(channels, filters, precision, device="cpu", groups=1):
    """Whether `conv2d` may ever go another way than torch's own.

    Args:
        channels, filters: int.
        precision: what is computed in, such as `"bfloat16"`.
        device: type of the device, such as `"cpu"`.
        groups: int.

    Example:
        >>> may_gain(64, 64, "float32"), may_gain(64, 64, "float64"), may_gain(3, 64, "float32")
        (True, False, False)
    """
    if min(channels, filters) < LEAST_CHANNELS or device != "cpu":
        return False
    # In groups of several channels only what a processor with tiles is for.
    precisions = PRECISIONS.values() if groups in (1, channels) else ("bfloat16",)
    return precision in precisions


def ways_of(images, weight, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """The name of the way of each stage of `conv2d` with these arguments, as a dict.

    Args:
        images, weight: tensors, of any device: what computes on a CPU is said.

    Example:
        >>> ways_of(torch.ones(1, 3, 8, 8), torch.ones(4, 3, 3, 3))
        {'forward': 'torch', 'to_input': 'torch', 'to_weight': 'torch'}
    """
    plan = None
    if images.dtype in PRECISIONS and not products_are_rounded(images.dtype):
        plan = _planned(images, weight, stride, padding, dilation, groups)
    ways = (None,) * len(STAGES) if plan is None else plan[1:]
    return {s: TORCH if way is None else way.name for s, way in zip(STAGES, ways, strict=True)}


class _Plan(NamedTuple):
    """The way of each stage of a convolution, `None` for torch's own."""

    sizes: Sizes
    forward: Way | None
    to_input: Way | None
    to_weight: Way | None


def _plan_for(images, weight, bias, stride, padding, dilation, groups):
    """The `_Plan` of a call, or `None` where torch's own computes all of it."""
    dtype = images.dtype
    if dtype not in PRECISIONS or images.device.type != "cpu" or torch.jit.is_tracing():
        return None
    if images.layout is not torch.strided or not {type(images), type(weight)} <= PLAIN:
        return None
    if not _agree(images, weight, bias):
        return None
    plan = _planned(images, weight, stride, padding, dilation, groups)
    return None if plan is None or needs_torch(dtype) else plan


def _planned(images, weight, *settings):
    """The `_Plan` of these shapes and settings, or `None` where all of it is torch's own."""
    around = images.dtype, torch.get_num_threads(), table_in_use()
    try:
        return _plan(images.shape, weight.shape, *settings, *around)
    except TypeError:  # what has no hash: lists in place of pairs, symbols in place of sizes
        return None


def _agree(images, weight, bias):
    """Whether the tensors are of one precision, and as many biases as filters; else torch says."""
    if weight.dtype is not images.dtype:
        return False
    return bias is None or (bias.dtype is images.dtype and bias.shape == weight.shape[:1])


def _are_usual(images, weight, stride, padding, dilation, groups):
    """Whether ways take such shapes and settings; torch computes others, or says what is wrong."""
    if len(images) != 4 or len(weight) != 4 or groups < 1:
        return False
    if weight[1] * groups != images[1] or weight[0] % groups:
        return False
    pairs = stride, padding, dilation
    if any(not isinstance(pair, tuple) or len(pair) != 2 for pair in pairs):
        return False
    return min(stride + dilation) >= 1 and min(padding) >= 0


def _may_be_opaque(images, weight, bias, stride, padding, dilation, groups):
    """Whether what is compiled may have an operation for the convolution that is ours."""
    if torch.compiler.is_exporting() or torch.is_autocast_enabled("cpu"):
        return False  # what is exported runs without this package
    if torch._C._functorch.get_dynamic_layer_stack_depth():
        return False  # the operation has no rule for `torch.func`
    settings = stride, padding, dilation, groups
    if not _are_usual(images.shape, weight.shape, *settings) or not _agree(images, weight, bias):
        return False
    filters, channels = weight.shape[:2]
    precision = PRECISIONS.get(images.dtype)
    return may_gain(channels * groups, filters, precision, images.device.type, groups)


def needs_torch(dtype):
    """Whether only torch's own function does what is asked for around the call."""
    return products_are_rounded(dtype) or torch.is_autocast_enabled("cpu") or is_transformed()


def is_transformed():
    """Whether what is computed now is for `torch.func` or forward differentiation."""
    return (
        torch._C._functorch.peek_interpreter_stack() is not None
        or torch.autograd.forward_ad._current_level >= 0
    )


@functools.lru_cache(maxsize=4096)
def _plan(images, weight, stride, padding, dilation, groups, dtype, threads, table):
    settings = stride, padding, dilation, groups
    if not _are_usual(images, weight, *settings):
        return None
    sizes = Sizes(*images[:2], weight[0], tuple(images[2:]), tuple(weight[2:]), *settings)
    names = [way_of(stage, sizes, PRECISIONS[dtype], threads, table) for stage in STAGES]
    if all(name == TORCH for name in names):
        return None
    return _Plan(sizes, *(None if name == TORCH else WAYS[name] for name in names))


def _forward(images, weight, bias, plan):
    sizes = plan.sizes
    if plan.forward is None:
        settings = sizes.stride, sizes.padding, sizes.dilation, sizes.groups
        return torch.conv2d(images, weight, bias, *settings)
    result = plan.forward.forward(dense(images), dense(weight), sizes)
    return result if bias is None else result.add_(bias.view(-1, 1, 1))


def is_to_be_derived(change):
    """Whether a gradient is to be differentiated itself, or many are computed at once."""
    return (
        torch.is_grad_enabled()
        or torch._C._functorch.is_legacy_batchedtensor(change)
        or torch._C._functorch.peek_interpreter_stack() is not None  # `torch.func.vmap` of them
    )


class _Convolution(torch.autograd.Function):
    """A convolution that keeps what torch's own keeps for its gradients: images and weights."""

    @staticmethod
    def forward(ctx, images, weight, bias, plan):
        # Not the windows, which take as many times the memory as the kernel has pixels.
        ctx.save_for_backward(images, weight)
        ctx.plan = plan
        return _forward(images, weight, bias, plan)

    @staticmethod
    def backward(ctx, change):
        images, weight = ctx.saved_tensors
        plan, (to_images, to_weight, to_bias, _) = ctx.plan, ctx.needs_input_grad
        # Also where autocast would take a product in another precision than the convolution's.
        if is_to_be_derived(change) or needs_torch(change.dtype):
            wanted = to_images, to_weight, to_bias
            return *gradients(change, images, weight, plan.sizes, wanted), None
        change = dense(change)
        images_by_torch = to_images and plan.to_input is None
        weight_by_torch = to_weight and plan.to_weight is None
        # oneDNN sums that to the bias up with that to the weights: for the former it does both.
        bias_by_torch = to_bias and weight_by_torch
        found, weight_by_way = [None, None, None], None
        # First that to the weights: its copies are gone before there is the images' gradient.
        if to_weight and not weight_by_torch:
            weight_by_way = plan.to_weight.to_weight(dense(images), change, plan.sizes)
        wanted = images_by_torch, weight_by_torch, bias_by_torch
        if any(wanted):
            # One call for all that torch's own computes.
            found = list(gradients(change, images, weight, plan.sizes, wanted))
        if to_images and not images_by_torch:
            found[0] = plan.to_input.to_input(change, dense(weight), plan.sizes)
        if to_weight and not weight_by_torch:
            found[1] = weight_by_way
        if to_bias and not bias_by_torch:
            found[2] = change.sum((0, 2, 3))
        return *found, None
