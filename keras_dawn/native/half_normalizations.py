"""Normalisations of half precision that sum in float32.

On a CPU torch's kernels take tensors in half precision with weights in float32 and round once:
nothing is copied. Where they do not, the same is computed of a copy in float32.
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
    return _in_float32(torch.group_norm, x, groups, gamma, beta, epsilon, cudnn)


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
    weights = [weight for weight in (gamma, beta) if weight is not None]
    trained = torch.is_grad_enabled() and any(weight.requires_grad for weight in weights)
    return _in_float32(torch.layer_norm, x, shape, gamma, beta, epsilon, copied=trained)


def _in_float32(normalization, x, *arguments, copied=False):
    # What is compiled is fused anyway, and `torch.func` takes tensors of one dtype.
    copied = copied or x.device.type != "cpu" or torch.compiler.is_compiling() or is_transformed()
    if not copied:
        return normalization(x, *arguments)
    return normalization(x.float(), *arguments).to(x.dtype)
