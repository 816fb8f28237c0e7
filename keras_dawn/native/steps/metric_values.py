"""Keras's metric functions written in torch: one number, or hit, for each item.

As in `loss_values`, `NotAlikeError` says that Keras has to compute this one.
"""

from keras_dawn.foundation import keras_metrics
from keras_dawn.foundation.precision import HALF
from keras_dawn.native.steps.batch_sums import rounded
from keras_dawn.native.steps.loss_targets import (
    NotAlikeError,
    class_numbers,
    paired,
    same_rank,
)
from keras_dawn.native.steps.loss_values import VALUES as LOSSES
from keras_dawn.native.steps.loss_values import known

import keras
import torch

_OF_ANY_RANK = {  # losses that take targets of another rank than the outputs by themselves
    getattr(keras.losses, name)
    for name in (
        "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error",
        "mean_squared_logarithmic_error", "cosine_similarity", "huber", "log_cosh",
        "sparse_categorical_crossentropy", "categorical_generalized_cross_entropy",
    )
}  # fmt: skip


def knows(function):
    """Whether a metric's function has a form here."""
    return function in LOSSES or function in _VALUES


def settings_for(function, settings):
    """The settings that the form of a metric's function takes; see `loss_values.known`."""
    return known(function, settings) if function in LOSSES else settings


def values_of(function, targets, outputs, settings):
    """What a metric's function gives for each item, or `None` for one that has no form here."""
    if function in LOSSES:
        if targets.shape != outputs.shape and function not in _OF_ANY_RANK:
            raise NotAlikeError(
                f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}"
            )
        return LOSSES[function](targets, outputs, **settings_for(function, settings))
    form = _VALUES.get(function)
    return None if form is None else form(targets, outputs, **settings)


def _accuracy(targets, outputs):
    targets, outputs = paired(targets, outputs)
    return targets == outputs


def _binary_accuracy(targets, outputs, threshold=0.5):
    targets, outputs = same_rank(targets, outputs)
    if targets.shape != outputs.shape or type(threshold) not in (int, float):
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    return (outputs > rounded(threshold, keras.config.floatx())).to(targets.dtype) == targets


def _sparse_categorical_accuracy(targets, outputs):
    _check_classes(outputs)
    if targets.is_floating_point():  # a target of 1.5 hits no class, in Keras too
        whole = targets.to(outputs.dtype).to(torch.float64)
        classes = class_numbers(whole, outputs)
        classes = classes.masked_fill(classes != whole.view_as(classes), -1)
    else:
        classes = class_numbers(targets, outputs)
    hits = outputs.argmax(-1) == classes
    if targets.ndim == outputs.ndim and hits.ndim > 1:
        hits = hits.unsqueeze(-1)
    return hits.squeeze(-1) if hits.ndim > 1 and hits.shape[-1] == 1 else hits


def _categorical_accuracy(targets, outputs):
    _check_one_hot(targets, outputs)
    return outputs.argmax(-1) == targets.argmax(-1)


def _top_k(targets, outputs, k=5):
    _check_one_hot(targets, outputs)
    return _in_top_k(targets.to(outputs.dtype).argmax(-1), outputs, k)


def _sparse_top_k(targets, outputs, k=5, from_sorted_ids=False):
    if from_sorted_ids or targets.is_floating_point():
        raise NotAlikeError("labels of floats, or sorted ones")
    _check_classes(outputs)
    if targets.ndim == outputs.ndim and outputs.ndim > 2:
        raise NotAlikeError("labels with an axis of 1 more")
    return _in_top_k(class_numbers(targets, outputs), outputs, k)


def _in_top_k(classes, outputs, k):
    """Which get at least the k-th highest output: with ties there are more than k such."""
    if type(k) is not int or not 0 < k <= outputs.shape[-1]:
        raise NotAlikeError(f"k={k}")
    # Compared with the k-th value, not by places: of equal outputs torch's order is arbitrary.
    least = outputs.topk(k).values[..., -1]
    # As Keras takes them, which counts negative numbers from the end.
    return torch.take_along_dim(outputs, classes.unsqueeze(-1), -1).squeeze(-1) >= least


def _check_one_hot(targets, outputs):
    _check_classes(outputs)
    dtypes = (outputs.dtype, torch.float32, torch.int64, torch.int32, torch.uint8)
    if targets.shape != outputs.shape or targets.ndim < 2 or targets.dtype not in dtypes:
        raise NotAlikeError(f"targets {tuple(targets.shape)} of {targets.dtype}")


def _check_classes(outputs):
    """That the outputs' dtype can hold every class number; 2 ** 8 in bfloat16."""
    half = outputs.dtype in HALF
    if outputs.ndim < 2 or (half and outputs.shape[-1] > 256):
        raise NotAlikeError("more classes than the outputs' dtype can count")


def _pearson_correlation(targets, outputs, axis=-1):
    targets, outputs = paired(targets, outputs)

    def normal(x):
        x = x - x.mean(axis, keepdim=True)
        return x / x.std(axis, correction=0, keepdim=True)

    return (normal(targets) * normal(outputs)).mean(axis)


def _concordance_correlation(targets, outputs, axis=-1):
    targets, outputs = paired(targets, outputs)
    means = [x.mean(axis, keepdim=True) for x in (targets, outputs)]
    spreads = [
        (x - mean).var(axis, correction=0, keepdim=True)
        for x, mean in zip((targets, outputs), means, strict=True)
    ]
    common = (targets - means[1]) * (outputs - means[1])
    norm = sum(spreads) + (means[0] - means[1]).square()
    return (2 * common / (norm + keras.config.epsilon())).mean(axis)


def _similarity(targets, outputs, axis=-1):
    return -LOSSES[keras.losses.cosine_similarity](targets, outputs, axis)


_VALUES = {
    keras_metrics.ACCURACY: _accuracy,
    keras_metrics.COSINE_SIMILARITY: _similarity,
    keras.metrics.binary_accuracy: _binary_accuracy,
    keras.metrics.sparse_categorical_accuracy: _sparse_categorical_accuracy,
    keras.metrics.categorical_accuracy: _categorical_accuracy,
    keras.metrics.top_k_categorical_accuracy: _top_k,
    keras.metrics.sparse_top_k_categorical_accuracy: _sparse_top_k,
    keras.metrics.pearson_correlation: _pearson_correlation,
    keras.metrics.concordance_correlation: _concordance_correlation,
}
