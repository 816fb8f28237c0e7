"""Gates: the tanh of some numbers times the sigmoid of others, as one operation.

A. van den Oord et al., "WaveNet: A Generative Model for Raw Audio", arXiv:1609.03499, equation 2.
"""

from keras_dawn.convolutions.convolve import is_to_be_derived
from keras_dawn.foundation.precision import is_amd

import torch

_aten = torch.ops.aten


def gate(numbers):
    """`tanh(a) · sigmoid(b)` of numbers whose last axis holds first all `a`, then all `b`.

    torch's kernels for both take vectors of one piece of memory: rows of 32 numbers of bfloat16
    they take number by number. So each half is copied first, and overwritten; the gradients of both
    are written side by side.

    Args:
        numbers: float tensor `(..., 2 · count)` on a CPU.

    Returns:
        Tensor `(..., count)` of the same dtype.

    Example:
        >>> round(gate(torch.tensor([[0.5, 0.0]])).item(), 4)
        0.2311
    """
    if torch.is_grad_enabled() and numbers.requires_grad:
        return _Gate.apply(numbers)[0]
    tanh, sigmoid = activated(*numbers.chunk(2, -1))
    return tanh.mul_(sigmoid)


def activated(one, other):
    """The tanh of one tensor and the sigmoid of another, dense tensors of their own."""
    if one.dtype in (torch.bfloat16, torch.float16) and not is_amd():
        # By Intel's own functions it is several times as fast in float32; it is rounded once, as
        # there. On an AMD EPYC it took twice the time.
        tanh = one.float().tanh_().to(one.dtype)
    else:
        tanh = _copied(one).tanh_()
    return tanh, _copied(other).sigmoid_()


def write_changes(change, tanh, sigmoid, halves):
    """Writes the gradients to `a` and to `b` into two tensors, of the one to their gate."""
    one, other = halves
    torch.mul(change, sigmoid, out=one)
    _aten.tanh_backward.grad_input(one, tanh, grad_input=one)
    torch.mul(change, tanh, out=other)
    _aten.sigmoid_backward.grad_input(other, sigmoid, grad_input=other)


def _copied(tensor):
    return tensor.clone(memory_format=torch.contiguous_format)


class _Gate(torch.autograd.Function):
    """The gate, and the two parts of it: what is kept has derivatives of its own."""

    @staticmethod
    def forward(ctx, numbers):
        tanh, sigmoid = activated(*numbers.chunk(2, -1))
        ctx.save_for_backward(tanh, sigmoid)
        ctx.set_materialize_grads(False)
        return tanh * sigmoid, tanh, sigmoid

    @staticmethod
    def backward(ctx, change, to_tanh, to_sigmoid):
        tanh, sigmoid = ctx.saved_tensors
        alone = to_tanh is None and to_sigmoid is None
        if alone and change is None:
            return None
        if alone and not is_to_be_derived(change):
            numbers = change.new_empty(*tanh.shape[:-1], 2 * tanh.shape[-1])
            write_changes(change, tanh, sigmoid, numbers.chunk(2, -1))
            return numbers
        one, other = _total(change, sigmoid, to_tanh), _total(change, tanh, to_sigmoid)
        return torch.cat((one * (1 - tanh * tanh), other * sigmoid * (1 - sigmoid)), -1)


def _total(change, factor, part):
    """The gradient to one factor: by way of the gate, and the part that comes to it directly."""
    if change is None:
        return torch.zeros_like(factor) if part is None else part
    return change * factor if part is None else change * factor + part
