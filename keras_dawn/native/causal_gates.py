"""Gates of two causal convolutions of a short series, as products of matrices."""

from keras_dawn.convolutions.convolve import needs_torch
from keras_dawn.native.gates import is_to_be_derived, write_changes

import torch


def causal_gates(series, kernels, biases, dilation, composed):
    """`tanh(one convolution) · sigmoid(another)` of a series, each step of what came before it.

    Each step and those that it looks back at are copied to a row of a matrix, and no zeros are put
    before the series. For the gradients they are copied again: only the series is kept. That to
    the series is added up from one product (see `keras_dawn.convolutions.folded`).

    Args:
        series: float32 tensor `(batch, time, channels)` on a CPU.
        kernels: two tensors `(filters, channels, steps)`, best with the channels innermost.
        biases: two tensors `(filters,)`, or two times `None`.
        dilation: int, how many steps lie between those that are looked at.
        composed: function of series, kernels and biases that computes the same by torch's
            operations, for gradients that are differentiated themselves.

    Returns:
        Tensor `(batch, time, filters)`.
    """
    given = (series, *kernels, *biases)
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in given):
        return _CausalGates.apply(dilation, composed, *given)
    tanh, sigmoid = _both(dilation, *given)
    return tanh.mul_(sigmoid)


def looked_at(series, steps, dilation):
    """Each step and those before it that a kernel looks at, as rows `(batch · time, steps · …)`.

    Args:
        series: `(batch, time, channels)`.
        steps: int, of the kernel.
        dilation: int.
    """
    batch, time, channels = series.shape
    rows = series.new_empty(batch, time, steps, channels)
    for step, back in enumerate(_back(steps, dilation, time)):
        rows[:, :back, step].zero_()
        rows[:, back:, step].copy_(series[:, : time - back])
    return rows.view(batch * time, steps * channels)


def _back(steps, dilation, time):
    """How far each step of a kernel looks back."""
    return [min(time, (steps - 1 - step) * dilation) for step in range(steps)]


def _both(dilation, series, *weights):
    """The tanh of one convolution and the sigmoid of the other, `(batch, time, filters)`."""
    batch, time, _ = series.shape
    rows = looked_at(series, weights[0].shape[2], dilation)
    numbers = [
        torch.mm(rows, matrix.t()) if bias is None else torch.addmm(bias, rows, matrix.t())
        for matrix, bias in zip(_matrices(weights[:2]), weights[2:], strict=True)
    ]
    tanh, sigmoid = numbers[0].tanh_(), numbers[1].sigmoid_()
    return tanh.view(batch, time, -1), sigmoid.view(batch, time, -1)


def _matrices(kernels):
    """Each kernel as `(filters, steps · channels)`."""
    return [kernel.mT.flatten(1) for kernel in kernels]


class _CausalGates(torch.autograd.Function):
    @staticmethod
    def forward(ctx, dilation, composed, *given):
        tanh, sigmoid = _both(dilation, *given)
        ctx.save_for_backward(tanh, sigmoid, *given)
        ctx.dilation, ctx.composed = dilation, composed
        return tanh * sigmoid

    @staticmethod
    def backward(ctx, change):
        tanh, sigmoid, *given = ctx.saved_tensors
        if is_to_be_derived(change) or needs_torch(change.dtype):
            return None, None, *_derived(ctx, change, given)
        series, *kernels = given[:3]
        filters, _, steps = kernels[0].shape
        numbers = change.new_empty(tanh[..., 0].numel(), 2 * filters)
        halves = (half.view_as(tanh) for half in numbers.chunk(2, 1))
        write_changes(change, tanh, sigmoid, tuple(halves))
        found = [None] * 5
        if any(ctx.needs_input_grad[3:5]):
            both = numbers.t() @ looked_at(series, steps, ctx.dilation)
            found[1:3] = both.view(2, filters, steps, -1).mT
        if any(ctx.needs_input_grad[5:]):
            found[3:] = numbers.sum(0).chunk(2)
        if ctx.needs_input_grad[2]:
            rows = numbers @ torch.cat(_matrices(kernels))
            found[0] = _folded(rows.view(*series.shape[:2], steps, -1), ctx.dilation)
        return None, None, *found


def _folded(rows, dilation):
    """The sum of what `(batch, time, steps, channels)` holds for each step, in its last part."""
    time, steps = rows.shape[1:3]
    total = rows[:, :, -1]
    for step, back in enumerate(_back(steps, dilation, time)[:-1]):
        total[:, : time - back] += rows[:, back:, step]
    return total


def _derived(ctx, change, given):
    """The gradients by torch's operations, which have gradients themselves."""
    wanted = [number for number in range(5) if ctx.needs_input_grad[2 + number]]
    found, create_graph = [None] * 5, torch.is_grad_enabled()
    with torch.enable_grad():
        # Views: an input that another one was made of has its own gradient only.
        given = [one if one is None else one.view_as(one) for one in given]
        gate = ctx.composed(given[0], given[1:3], given[3:])
        inputs = [given[number] for number in wanted]
        gradients = torch.autograd.grad(gate, inputs, change, create_graph=create_graph)
    for number, gradient in zip(wanted, gradients, strict=True):
        found[number] = gradient
    return found
