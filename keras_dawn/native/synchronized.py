"""Batch normalisation over the batches of all ranks together."""

import contextlib

import torch
import torch.distributed as dist

_weights = [lambda: 1.0]  # the last one: what gradients of a loss that is not weighed weigh


@contextlib.contextmanager
def gradients_weigh(weight):
    """Backward passes in this context are of a mean over the rank's part, not weighed yet.

    Args:
        weight: callable without arguments: what its gradients will be multiplied by when they are
            averaged over the ranks. Sums over the ranks within the pass need it, too.
    """
    _weights.append(weight)
    try:
        yield
    finally:
        _weights.pop()


def synchronized_batch_norm(inputs, gamma, beta, epsilon):
    """Normalises by the mean and variance of all ranks' batches.

    torch's own SyncBatchNorm needs a GPU; this runs on any device. Each rank adds its sums,
    weighted by its own number of images, so parts of different size are right.

    Args:
        inputs: `(batch, channels, …)`.
        gamma, beta: `(channels,)` or `None`.
        epsilon: float.

    Returns:
        `(outputs, mean, inverse deviation)`, like `torch.native_batch_norm`; the statistics
        are of shape `(channels,)`, in at least float32, and have no gradient.
    """
    return _Synchronized.apply(inputs, gamma, beta, epsilon)


def sum_over_batches(tensor):
    """The sum of a tensor over all ranks, whose gradient is that of all ranks' losses."""
    return _Sum.apply(tensor)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, tensor):
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, gradient):
        weight = _weights[-1]()
        total = gradient * weight
        dist.all_reduce(total)
        return total / weight


class _Synchronized(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, gamma, beta, epsilon):
        axes, shape = _axes(inputs)
        wide = inputs.to(_accumulated_in(inputs.dtype))
        variance, mean = torch.var_mean(wide, axes, correction=0)
        count = wide.numel() / wide.shape[1]
        # Means first, then squared distances from the common mean: nothing cancels.
        sums = torch.cat([mean * count, mean.new_full((1,), count)])
        dist.all_reduce(sums)
        total = sums[-1]
        common = sums[:-1] / total
        squares = (variance + (mean - common).square()) * count
        dist.all_reduce(squares)
        deviation = (squares / total + epsilon).rsqrt()
        scale = deviation if gamma is None else deviation * gamma
        shift = -common * scale if beta is None else beta - common * scale
        outputs = torch.addcmul(shift.view(shape), wide, scale.view(shape))
        ctx.save_for_backward(inputs, gamma, common, deviation, total)
        ctx.has_beta = beta is not None
        ctx.mark_non_differentiable(common, deviation)
        return outputs.to(inputs.dtype), common, deviation

    @staticmethod
    def backward(ctx, gradient, *_):
        inputs, gamma, mean, deviation, total = ctx.saved_tensors
        axes, shape = _axes(inputs)
        gradient = gradient.to(mean.dtype)
        normalized = (inputs.to(mean.dtype) - mean.view(shape)) * deviation.view(shape)
        # Those of this rank alone: like all gradients, they are averaged over the ranks later.
        grad_beta = gradient.sum(axes)
        grad_gamma = (gradient * normalized).sum(axes)
        weight = _weights[-1]()
        sums = torch.cat([grad_beta, grad_gamma]) * weight
        dist.all_reduce(sums)
        mean_gradient, mean_product = (sums / (total * weight)).chunk(2)
        scale = deviation if gamma is None else deviation * gamma
        grad_inputs = scale.view(shape) * (
            gradient - mean_gradient.view(shape) - normalized * mean_product.view(shape)
        )
        return (
            grad_inputs.to(inputs.dtype),
            grad_gamma.to(gamma.dtype) if gamma is not None else None,
            grad_beta.to(mean.dtype) if ctx.has_beta else None,
            None,
        )


def _axes(inputs):
    """The axes to average over, and the shape that statistics broadcast in."""
    return [0, *range(2, inputs.ndim)], [1, -1] + [1] * (inputs.ndim - 2)


def _accumulated_in(dtype):
    return torch.float64 if dtype == torch.float64 else torch.float32
