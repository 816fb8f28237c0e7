"""Losses and metrics of items put together under weights and masks, as Keras does it."""

import functools

from keras_dawn.foundation import keras_masks, keras_variables
from keras_dawn.native.steps.loss_targets import same_rank
from keras_dawn.native.steps.valid_items import valid_items

import torch

MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


def reduced(values, weight, mask, reduction):
    """One loss of the losses of items.

    Args:
        values: float tensor `(batch, …)`, or of no axes.
        weight: tensor of sample weights, or `None`.
        mask: Keras's mask of the outputs, or `None`; one that the values bring counts, too.
        reduction: str or `None`, as Keras's losses have it.
    """
    own = keras_masks.mask_of(values)
    if own is not None:
        mask = own if mask is None else mask & own
    weight = masked_weight(weight, mask, values.dtype, reduction)
    if weight is not None:
        # Weights `(batch, 1)` of values `(batch,)` would broadcast to a square.
        values, weight = same_rank(values, weight)
        values = values * weight
    if reduction in (None, "none") or values.ndim == 0 or values.shape == (0,):  # as Keras
        return values
    total = values.sum()
    if reduction not in MEANS:
        return total
    if reduction == "mean_with_sample_weight" and weight is not None:
        return _divide_no_nan(total, weight.sum().to(total.dtype))
    return total / values.numel() if values.numel() else torch.zeros_like(total)


def masked_weight(weight, mask, dtype, reduction):
    """Sample weights with a mask in them; `None` where there is neither."""
    if weight is not None:
        weight = weight.to(dtype)
    if mask is None:
        return weight
    if reduction in ("mean", "sum_over_batch_size"):
        # So that a mean over all is one over those that are not masked.
        items = mask.new_full((), mask.numel(), dtype=dtype)
        of_valid = _divide_no_nan(items, valid_items(mask, dtype))
        mask = torch.where(mask.bool(), of_valid, 0)
    else:
        mask = mask.to(dtype)
    if weight is None:
        return mask
    mask, weight = same_rank(mask, weight)
    # In place, as in Keras: weighted metrics then see the weights as the loss has masked them.
    return weight.mul_(mask)


def _divide_no_nan(one, other):
    return torch.where(other == 0, torch.zeros_like(one), one / torch.where(other == 0, 1, other))


def add_sum(metric, value, number):
    """Adds a sum to the total of a `keras.metrics.Mean`, and how many were summed to its count.

    Args:
        metric: `keras.metrics.Mean`.
        value: 0-d tensor.
        number: int.
    """
    keras_variables.memory_of(metric.total).add_(value)
    count_up(keras_variables.memory_of(metric.count), number)


def count_up(count, number):
    """Adds a number to a 0-d tensor."""
    if count.device.type == "cpu":  # torch would make a tensor of the number, each time
        number = _on_the_processor(number, count.dtype)
    count.add_(number)


@functools.lru_cache(64)
def _on_the_processor(number, dtype):
    return torch.tensor(number, dtype=dtype, device="cpu")


def add_to_mean(metric, values, weight, mask):
    """Adds a batch's values to the total and the count of a `keras.metrics.Mean`.

    Args:
        metric: `keras.metrics.Mean`.
        values: float tensor `(batch, …)`, or of no axes; or bools, of hits.
        weight: tensor of sample weights, or `None`.
        mask: Keras's mask of the outputs, or `None`.
    """
    total, count = map(keras_variables.memory_of, (metric.total, metric.count))
    own = keras_masks.mask_of(values)
    weight = masked_weight(weight, mask, total.dtype, "sum")
    if weight is not None or values.ndim > 1 or values.is_floating_point():
        values = values.to(total.dtype)
    if weight is None:
        if values.ndim > 1:
            values = values.flatten(1).mean(1)
        add_sum(metric, values.sum(), len(values) if values.ndim else 1)
        return
    if own is not None:
        weight = masked_weight(weight, own, total.dtype, "sum")
    values, weight = same_rank(values, weight)
    if values.ndim > weight.ndim:
        values = values.mean(tuple(range(weight.ndim, values.ndim)))
    weight = torch.broadcast_to(weight, values.shape)
    values = values * weight
    if weight.ndim > 1:
        weight, values = (part.flatten(1).mean(1) for part in (weight, values))
    total.add_(values.sum())
    count.add_(weight.sum())


@functools.cache
def on_device(numbers, dtype, device):
    """A tuple of numbers of a setting, copied once: a CUDA graph goes on reading this memory."""
    with torch.inference_mode(False):  # kept for training, whoever asks first
        return torch.tensor(numbers, dtype=dtype, device=device)
