"""Gates of two causal convolutions of a short series, as products of matrices."""

from keras_dawn.convolutions.convolve import is_to_be_derived
from keras_dawn.native.gates import write_changes

import torch
import torch.nn.functional as F


def causal_gates(series, kernels, biases, dilation, composed):
    """`tanh(one convolution) · sigmoid(another)` of a series, each step of what came before it.

    Each step and those that it looks back at are copied to a row of a matrix, and no zeros are put
    before the series. Only the series is kept, as torch's own convolution keeps it. The gradients
    are a product for each step of the kernel, of all series one behind the other with zeros
    between them: nothing is copied but the series.

    Args:
        series: float32 tensor `(batch, time, channels)` on a CPU.
        kernels: two tensors `(filters, channels, steps)`, best with the channels innermost.
        biases: two tensors `(filters,)`, or two times `None`.
        dilation: int, how far those that are looked at lie apart.
        composed: function of series, kernels and biases that computes the same by torch's
            operations, for gradients that are differentiated themselves, are many at once, or are
            computed under autocast.

    Returns:
        Tensor `(batch, time, filters)`.
    """
    given = (series, *kernels, *biases)
    if torch.is_grad_enabled() and any(one is not None and one.requires_grad for one in given):
        return _CausalGates.apply(dilation, composed, *given)
    tanh, sigmoid = _both(dilation, *given)
    return tanh.mul_(sigmoid)


def _back(steps, dilation):
    """How far each step of a kernel looks back."""
    return [(steps - 1 - step) * dilation for step in range(steps)]


def _looked_at(series, steps, dilation):
    """Each step and those before it that a kernel looks at, as `(batch · time, steps · channels)`.

    Before a series there are zeros, fewer than it has steps.
    """
    batch, time, channels = series.shape
    rows = series.new_empty(batch, time, steps, channels)
    for step, far in enumerate(_back(steps, dilation)):
        if far:
            rows[:, :far, step].zero_()
        rows[:, far:, step].copy_(series[:, : time - far])
    return rows.view(batch * time, steps * channels)


def _both(dilation, series, *weights):
    """The tanh of one convolution and the sigmoid of the other, `(batch, time, filters)`."""
    batch, time, _ = series.shape
    rows = _looked_at(series, weights[0].shape[2], dilation)
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
        if is_to_be_derived(change) or torch.is_autocast_enabled("cpu"):
            return None, None, *_derived(ctx, change, given)
        series, *kernels = given[:3]
        filters, channels, steps = kernels[0].shape
        batch, time, _ = series.shape
        back = _back(steps, ctx.dilation)
        zeros = back[0]
        # With zeros before each series all series are one: what reaches into the one before is 0.
        both = change.new_empty(batch, zeros + time, 2 * filters)
        both[:, :zeros].zero_()
        write_changes(change, tanh, sigmoid, both[:, zeros:].chunk(2, 2))
        both = both.flatten(0, 1)
        found = [None] * 5
        if any(ctx.needs_input_grad[3:5]):
            given = F.pad(series, (0, 0, zeros, 0)).flatten(0, 1)
            kernel = change.new_empty(2 * filters, steps, channels)
            for step, far in enumerate(back):
                torch.mm(both[far:].t(), given[: len(given) - far], out=kernel[:, step])
            found[1:3] = kernel.mT.chunk(2)
        if any(ctx.needs_input_grad[5:]):
            found[3:] = both.sum(0).chunk(2)
        if ctx.needs_input_grad[2]:
            kernel = torch.cat([kernel.mT for kernel in kernels])
            total = torch.mm(both, kernel[:, -1])
            for step, far in enumerate(back[:-1]):
                total[: len(total) - far].addmm_(both[far:], kernel[:, step])
            found[0] = total.view(batch, zeros + time, channels)[:, zeros:]
        return None, None, *found


def _derived(ctx, change, given):
    """The gradients by torch's operations, which have gradients themselves."""
    wanted = [number for number in range(5) if ctx.needs_input_grad[2 + number]]
    found, create_graph = [None] * 5, torch.is_grad_enabled()
    # In the precision that it was computed in: under autocast it is by other operations.
    with torch.enable_grad(), torch.autocast("cpu", enabled=False):
        # Views: an input that another one was made of has its own gradient only.
        given = [one if one is None else one.view_as(one) for one in given]
        gate = ctx.composed(given[0], given[1:3], given[3:])
        inputs = [given[number] for number in wanted]
        gradients = torch.autograd.grad(gate, inputs, change, create_graph=create_graph)
    for number, gradient in zip(wanted, gradients, strict=True):
        found[number] = gradient
    return found
