"""Normalisations of half precision that sum in float32.

On a CPU torch's kernels take tensors in half precision with weights in float32 and round once:
nothing is copied. Where they do not, or do so slowly, it is computed of a copy in float32.
"""

from keras_dawn.convolutions.convolve import is_transformed

import torch


def group_norm_in_half(x, groups, gamma, beta, epsilon, cudnn=True):
    """`torch.group_norm` of a tensor in half precision with weights in float32.

    Args:
        x: bfloat16 or float16 tensor `(batch, channels, ...)`.
        groups: int, of channels.
        gamma, beta: float32 tensors `(channels,)`, or `None`.
        epsilon: float, added to the variance.
        cudnn: bool, as `torch.group_norm` has it.

    Returns:
        Tensor like `x`, computed in float32 and rounded once.
    """
    weights = gamma, beta
    settings = groups, *weights, epsilon, cudnn
    fast = x.shape[1] >= 16 * groups or x.ndim not in _INNERMOST or x.is_contiguous()
    if fast or not x.is_cpu:
        return _in_float32(torch.group_norm, x, *settings)
    # With the channels innermost torch's kernels take those of a group number by number if they are
    # fewer than a vector holds. On an AMD EPYC steps took 0.3 to 1.1 of the time with the channels
    # outermost, predictions of at most four channels a group 0.3 to 0.6; of 1,024 pixels and more
    # another kernel computes those, in 0.3 to 0.5 of the time that copies in float32 take.
    small = x[0, 0].numel() < 1024
    if _is_trained(x, *weights) or (small and x.shape[1] <= 4 * groups):
        outputs = _in_float32(torch.group_norm, x.contiguous(), *settings)
        return outputs.contiguous(memory_format=_INNERMOST[x.ndim])
    return _in_float32(torch.group_norm, x, *settings, copied=small)


def layer_norm_in_half(x, shape, gamma, beta, epsilon):
    """`torch.layer_norm` of a tensor in half precision with weights in float32.

    Args:
        x: bfloat16 or float16 tensor `(..., *shape)`.
        shape: ints, the last axes, which are normalised together.
        gamma, beta: float32 tensors of that shape, or `None`.
        epsilon: float, added to the variance.

    Returns:
        Tensor like `x`, computed in float32 and rounded once.
    """
    # The kernel adds up the gradients of its weights in half precision: 5 % off for 512 examples.
    trained = _is_trained(gamma, beta)
    return _in_float32(torch.layer_norm, x, shape, gamma, beta, epsilon, copied=trained)


def _is_trained(*tensors):
    wanted = any(tensor is not None and tensor.requires_grad for tensor in tensors)
    return wanted and torch.is_grad_enabled()


def _in_float32(normalization, x, *arguments, copied=False):
    # What is compiled is fused anyway, and `torch.func` takes tensors of one dtype.
    copied = copied or x.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed()
    if not copied:
        return normalization(x, *arguments)
    return normalization(x.float(), *arguments).to(x.dtype)


_INNERMOST = {4: torch.channels_last, 5: torch.channels_last_3d}
