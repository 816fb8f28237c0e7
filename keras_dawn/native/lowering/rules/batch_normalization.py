"""Batch normalisation, with and without masks, over whichever axis."""

import operator

from keras_dawn.distributed.ranks import current
from keras_dawn.native.lowering.dtypes import HALF, result_type
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value
from keras_dawn.native.synchronized import sum_over_batches, synchronized_batch_norm

import keras
import torch
from keras import layers

# Two calls of cuDNN's for five kernels of torch's own; `benchmarks/gpu_normalizations.py` measures
# both. In bfloat16 torch's binding of cuDNN takes no float32 scales.
CUDNN_IN_FLOAT16 = True


@rule(layers.BatchNormalization, arguments=True)
def batch_normalization(builder, layer, inputs, call):
    value, mask = call.arguments["inputs"], call.arguments["mask"]
    if isinstance(mask, Value) and mask.rank != value.rank - 1:
        raise LoweringError("a mask of another shape")
    mask = builder.tensor(mask)
    if layer.renorm:
        raise LoweringError("renorm")
    axis = layer.axis if layer.axis >= 0 else layer.axis + value.rank
    value, restored = _channels_second(builder, value, axis)
    # Half precision goes in as it is: torch's kernel sums in float32, as Keras's cast does.
    if value.dtype != layer.compute_dtype or value.dtype not in HALF:
        value = builder.to(value, result_type(value.dtype, "float32"))
    moving = [builder.parameter(v, AS_IS) for v in (layer.moving_mean, layer.moving_variance)]
    if layer.moving_mean.dtype != result_type(value.dtype, "float32"):
        raise LoweringError(f"of {value.dtype} with weights of {layer.moving_mean.dtype}")
    gamma, beta = _gamma_and_beta(builder, layer, call.name)
    synchronized = layer.synchronized and current().several
    trains = call.training and layer.trainable
    if trains and mask is not None and not (synchronized or builder.collect_statistics):
        raise LoweringError("a mask")
    if trains and (builder.collect_statistics or synchronized):
        if mask is not None:
            if call.output.shape[axis] == 1:
                raise LoweringError("one channel, and perhaps a mask, which Keras has an error for")
            function = masked_batch_norm_of_all_ranks if synchronized else masked_batch_norm
            channels = 1 if value.torch_order else value.rank - 1
            args = (value.node, mask, channels, gamma, beta, layer.epsilon)
        elif synchronized:
            function, args = synchronized_batch_norm, (value.node, gamma, beta, layer.epsilon)
        else:
            function, args = batch_norm_in_training, (value.node, gamma, beta, layer.epsilon)
        outputs = builder.call(function, *args)
        node = builder.call(operator.getitem, outputs, 0, name=call.name)
        mean = builder.call(operator.getitem, outputs, 1)
        inverse_deviation = builder.call(operator.getitem, outputs, 2)
        builder.statistics.append((layer, mean, inverse_deviation))
    else:
        if builder.views is None and not call.training:  # called by itself, from the user's Python
            moving = [builder.call(kept_for_backward, node) for node in moving]
        node = builder.call(
            torch.batch_norm,
            value.node,
            gamma,
            beta,
            *moving,
            trains,
            round(1.0 - layer.momentum, 12),  # 0.01, and not 0.010000000000000009
            layer.epsilon,
            torch.backends.cudnn.enabled,
            name=call.name,
        )
    return builder.to(restored(value.with_node(node)), layer.compute_dtype)


def _channels_second(builder, value, axis):
    """The value with its channels as torch's batch normalisation has them, and the way back."""
    last = value.rank - 1
    if axis == last and value.rank in (4, 5):
        return value.with_node(builder.image(value, "channels_last"), torch_order=True), _as_is
    node = builder.keras_order(value)
    if axis == 1:
        return value.with_node(node, torch_order=False), _as_is
    if axis == last:  # as vectors: torch knows no series with the channels innermost
        flat = builder.call(torch.flatten, node, 0, last - 1)

        def restored(result):
            back = builder.graph.call_method("view_as", (result.node, node))
            return result.with_node(back, rank=value.rank)

        return value.with_node(flat, rank=2, torch_order=False), restored

    moved = builder.call(torch.movedim, node, axis, 1)

    def moved_back(result):
        return result.with_node(builder.call(torch.movedim, result.node, 1, axis))

    return value.with_node(moved, torch_order=False), moved_back


def _as_is(result):
    return result


def kept_for_backward(moving):
    """A moving average that the backward pass reads: a call in training may move it before that."""
    return moving.clone() if torch.is_grad_enabled() else moving


def batch_norm_in_training(x, gamma, beta, epsilon):
    """`(outputs, mean, inverse deviation)` of a batch in torch's order of axes."""
    function = torch.cudnn_batch_norm if _goes_to_cudnn(x, gamma, beta) else torch.native_batch_norm
    outputs, *statistics = function(x, gamma, beta, None, None, True, 0.0, epsilon)[:3]
    if x.numel() == x.shape[1]:
        # One value a channel: exactly beta in Keras, where torch leaves what rounding does, on
        # either side of a ReLU's kink if beta is 0.
        outputs = outputs * 0
        if beta is not None:
            outputs = outputs + beta.to(x.dtype).view(-1, *[1] * (x.ndim - 2))
    return outputs, *statistics


def _goes_to_cudnn(x, gamma, beta):
    """Whether cuDNN computes it: in float16 on a GPU, as `torch.nn.BatchNorm2d` chooses, too."""
    return (
        CUDNN_IN_FLOAT16
        and x.is_cuda
        and x.dtype == torch.float16
        and x.ndim > 2
        and gamma is not None
        and beta is not None
        and x.numel() < 2**31
        and torch.backends.cudnn.enabled
    )


def masked_batch_norm_of_all_ranks(x, mask, channels, gamma, beta, epsilon):
    """`masked_batch_norm` by mean and variance of all ranks' batches."""
    if mask is None:
        return synchronized_batch_norm(x, gamma, beta, epsilon)
    return masked_batch_norm(x, mask, channels, gamma, beta, epsilon, sum_over_batches)


def masked_batch_norm(x, mask, channels, gamma, beta, epsilon, total_of=_as_is):
    """`batch_norm_in_training` that leaves masked places out of mean and variance, as Keras does.

    Args:
        x: `(batch, normalised axis, …)`.
        mask: bool, of x's shape without Keras's last axis; `None` where there is none after all.
        channels: int, where Keras's last axis is in x.
        gamma, beta: of the size of the normalised axis, or `None`.
        epsilon: float.
        total_of: callable from the sums of this batch to those that count.
    """
    if mask is None:
        return batch_norm_in_training(x, gamma, beta, epsilon)
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if x.ndim == 2:
        mask = mask.flatten()  # of a series that comes as vectors
    counted = mask.to(torch.bool).unsqueeze(channels).expand(wide.shape)
    axes = [axis for axis in range(x.ndim) if axis != 1]
    number = total_of(counted.to(wide.dtype).sum(axes, keepdim=True)) + keras.config.epsilon()
    mean = total_of(torch.where(counted, wide, 0).sum(axes, keepdim=True)) / number
    squares = torch.where(counted, wide - mean, 0).square().sum(axes, keepdim=True)
    deviation = (total_of(squares) / number + epsilon).rsqrt()
    shape = [-1 if axis == 1 else 1 for axis in range(x.ndim)]
    outputs = (wide - mean) * (deviation if gamma is None else deviation * gamma.view(shape))
    if beta is not None:
        outputs = outputs + beta.view(shape)
    return outputs.to(x.dtype), mean.detach().flatten(), deviation.detach().flatten()


def _gamma_and_beta(builder, layer, name):
    gamma = builder.parameter(layer.gamma, AS_IS) if layer.scale else None
    beta = builder.parameter(layer.beta, AS_IS) if layer.center else None
    if gamma is None and beta is not None:
        # On CUDA torch (2.11 to 2.14) fails in the backward pass of beta where there is no gamma.
        gamma = builder.constant(torch.ones_like(layer.beta.value).detach(), name)
    return gamma, beta
