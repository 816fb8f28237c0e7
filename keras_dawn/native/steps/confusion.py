"""Metrics that count right and wrong decisions, counted on the device as Keras counts them.

Each function adds one batch to a metric's variables, or raises `NotAlikeError` before that.
"""

from keras_dawn.foundation import keras_metrics, keras_variables, keras_version
from keras_dawn.native.steps.loss_targets import NotAlikeError, same_rank

import keras
import torch


class Counts:
    """How many decisions are true and false, positive and negative, at every threshold.

    Args:
        tp, fp: tensors `(thresholds,)`.
        positives, negatives: 0-d tensors, the weight of all labels that are true, and false.
    """

    def __init__(self, tp, fp, positives, negatives):
        self.tp, self.fp = tp, fp
        self._positives, self._negatives = positives, negatives

    @property
    def fn(self):
        return self._positives - self.tp

    @property
    def tn(self):
        return self._negatives - self.fp


def counts(metric, targets, outputs, weight, thresholds, places):
    """The `Counts` of one batch.

    Args:
        metric: Keras metric; whether its thresholds lie evenly says which way it counts.
        targets, outputs: tensors of one shape, but for a last axis of 1.
        weight: sample weights, or `None`.
        thresholds: list of float.
        places: callable `thresholds -> tensor` on the outputs' device.
    """
    dtype = keras_variables.memory_of(metric.variables[0]).dtype
    outputs, targets = same_rank(outputs.to(dtype), targets.to(dtype))
    if outputs.shape != targets.shape or not outputs.numel():
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    if weight is not None:
        weight = weight.to(dtype).unsqueeze(-1)
        # Keras's broadcasting: weights of an item count for all its numbers.
        if weight.ndim == targets.ndim + 1:
            weight = weight.squeeze(-1)
        if weight.ndim != targets.ndim:
            raise NotAlikeError(f"weights {tuple(weight.shape)}")
    if getattr(metric, "top_k", None) is not None:
        chosen = outputs.topk(metric.top_k).indices
        kept = torch.zeros_like(outputs, dtype=torch.bool).scatter(-1, chosen, True)
        outputs = torch.where(kept, outputs, -1e10)  # Keras's number for "below any threshold"
    number = getattr(metric, "class_id", None)
    if number is not None:
        if outputs.ndim == 1:
            raise NotAlikeError("class_id without classes")
        targets, outputs = targets[..., number, None], outputs[..., number, None]
    outputs, labels = outputs.flatten(), targets.flatten() != 0
    weight = None if weight is None else weight.expand(targets.shape).flatten()
    if keras_metrics.even_thresholds(metric):
        return _by_buckets(outputs, labels, weight, thresholds)
    weight = torch.ones_like(outputs) if weight is None else weight
    true, false = torch.where(labels, weight, 0.0), torch.where(labels, 0.0, weight)
    # One comparison with all thresholds, and sums as products of matrices.
    over = (outputs > places(thresholds).unsqueeze(1)).to(dtype)
    return Counts(over @ true, over @ false, true.sum(), false.sum())


def _by_buckets(outputs, labels, weight, thresholds):
    """The `Counts` at evenly spaced thresholds from 0 to 1."""
    number = len(thresholds)
    # Rounded up: an output equal to a threshold is not over it.
    bucket = torch.ceil(outputs.clip(0.0, 1.0) * (number - 1))
    if thresholds[0] < 0.0 or thresholds[-1] > 1.0:
        bucket = bucket.clamp_min(1.0)
    # Bucket 0 is below the first threshold; those of true labels come after those of false ones.
    place = (bucket + labels * (number + 1)).long()
    buckets = torch.zeros(2 * (number + 1), device=outputs.device)  # float32, as in Keras
    single = buckets.new_ones(()).expand(place.shape) if weight is None else weight.float()
    buckets.scatter_add_(0, place, single)
    buckets = buckets.view(2, -1).to(outputs.dtype)
    # Over a threshold is whatever lies in its bucket or a higher one: a sum from the end.
    fp, tp = buckets[:, 1:].flip(1).cumsum(1).flip(1)
    if weight is None:
        negatives, positives = buckets.sum(1)
    else:
        positives, negatives = ((weight * which).sum() for which in (labels, ~labels))
    return Counts(tp, fp, positives, negatives)


def add_decisions(metric, targets, outputs, weight, places):
    """Adds a batch to `Precision`, `Recall` and those at a given sensitivity and the like."""
    found = counts(metric, targets, outputs, weight, metric.thresholds, places)
    names = _STATE[type(metric)]
    states = [keras_variables.memory_of(getattr(metric, name)) for name in names]
    torch._foreach_add_(states, [getattr(found, _COUNT_OF[name]) for name in names])


def add_condition(metric, targets, outputs, weight, places):
    """Adds a batch to `TruePositives`, `FalseNegatives`, …"""
    found = counts(metric, targets, outputs, weight, metric.thresholds, places)
    metric.accumulator.value.add_(getattr(found, keras_metrics.counted_condition(metric)))


def add_to_auc(metric, targets, outputs, weight, places):
    """Adds a batch to an `AUC` over all labels together."""
    if metric.multi_label or metric.label_weights is not None:
        raise NotAlikeError("several labels")
    if keras_metrics.takes_logits(metric):
        outputs = torch.sigmoid(outputs)
    add_decisions(metric, targets, outputs, weight, places)


def add_to_f_score(metric, targets, outputs, weight, places):
    """Adds a batch to an `FBetaScore` or `F1Score`."""
    if not keras_metrics.is_built(metric):
        raise NotAlikeError("a first batch")
    dtype = metric.true_positives.value.dtype
    if targets.shape != outputs.shape or outputs.ndim != 2:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    targets, outputs = targets.to(dtype), outputs.to(dtype)
    if metric.threshold is None:
        highest = outputs.amax(-1, keepdim=True)
        # Keras's rule: the highest counts, ties all, unless it is 0 but for rounding.
        decided = (outputs >= highest) & (outputs.abs() > 1e-9)
    else:
        decided = outputs > metric.threshold
    decided = decided.to(dtype)
    if weight is not None and weight.ndim != 1:
        raise NotAlikeError(f"weights {tuple(weight.shape)}")
    parts = (
        (metric.true_positives, decided * targets),
        (metric.false_positives, decided * (1 - targets)),
        (metric.false_negatives, (1 - decided) * targets),
        (metric.intermediate_weights, targets),
    )
    for variable, part in parts:
        part = part if weight is None else part * weight.to(dtype).unsqueeze(1)
        variable.value.add_(part.sum() if metric.axis is None else part.sum(metric.axis))


def add_to_iou(metric, targets, outputs, weight, places):
    """Adds a batch to the confusion matrix of an `IoU`, `MeanIoU`, `BinaryIoU`, …"""
    total, classes = metric.total_cm.value, metric.num_classes
    if isinstance(metric, keras.metrics.BinaryIoU):
        outputs = outputs.float() >= metric.threshold
    if not metric.sparse_y_true:
        targets = targets.argmax(metric.axis)
    if not metric.sparse_y_pred:
        outputs = outputs.argmax(metric.axis)
    targets, outputs = (part.to(total.dtype).flatten() for part in (targets, outputs))
    if targets.shape != outputs.shape or (weight is not None and not total.is_floating_point()):
        raise NotAlikeError("other sizes, or weights that would be cut to whole numbers")
    inside = (targets >= 0) & (targets < classes) & (outputs >= 0) & (outputs < classes)
    if metric.ignore_class is not None:
        inside &= targets != metric.ignore_class
    weight = total.new_ones(()) if weight is None else weight.to(total.dtype).flatten()
    weight = torch.where(inside, weight.expand_as(targets), 0)
    # What lies outside the classes is added with weight 0, since its place is known on the device
    # only.
    place = torch.where(inside, targets.long() * classes + outputs.long(), 0)
    total.view(-1).scatter_add_(0, place, weight)


def add_to_r2(metric, targets, outputs, weight, places):
    """Adds a batch to an `R2Score`."""
    if not keras_metrics.is_built(metric):
        raise NotAlikeError("a first batch")
    dtype = metric.sum.value.dtype
    targets, outputs = same_rank(targets.to(dtype), outputs.to(dtype))
    if targets.shape != outputs.shape or targets.ndim != 2:
        raise NotAlikeError(f"targets {tuple(targets.shape)} for outputs {tuple(outputs.shape)}")
    weight = targets.new_ones(()) if weight is None else weight.to(dtype)
    weight = (weight.unsqueeze(1) if weight.ndim == 1 else weight).expand_as(targets)
    weighted = targets * weight
    metric.sum.value.add_(weighted.sum(0))
    metric.squared_sum.value.add_((targets * weighted).sum(0))
    metric.total_mse.value.add_(((targets - outputs).square() * weight).sum(0))
    metric.count.value.add_(weight.sum(0))
    if keras_version.VERSION >= (3, 16):  # samples, not numbers, and none of weight 0
        metric.num_samples.value.add_((weight != 0).any(-1).sum())
    else:
        metric.num_samples.value.add_(targets.numel())


_COUNT_OF = {
    "true_positives": "tp",
    "false_positives": "fp",
    "true_negatives": "tn",
    "false_negatives": "fn",
}
_STATE = dict.fromkeys(
    (
        keras.metrics.AUC, keras.metrics.SensitivityAtSpecificity,
        keras.metrics.SpecificityAtSensitivity, keras.metrics.PrecisionAtRecall,
        keras.metrics.RecallAtPrecision,
    ),
    tuple(_COUNT_OF),
)  # fmt: skip
_STATE[keras.metrics.Precision] = ("true_positives", "false_positives")
_STATE[keras.metrics.Recall] = ("true_positives", "false_negatives")

COUNTERS = dict.fromkeys(_STATE, add_decisions)
COUNTERS[keras.metrics.AUC] = add_to_auc
COUNTERS |= {
    getattr(keras.metrics, name): add_condition
    for name in ("TruePositives", "FalsePositives", "TrueNegatives", "FalseNegatives")
}
COUNTERS |= dict.fromkeys((keras.metrics.F1Score, keras.metrics.FBetaScore), add_to_f_score)
COUNTERS |= {
    getattr(keras.metrics, name): add_to_iou
    for name in ("IoU", "BinaryIoU", "MeanIoU", "OneHotIoU", "OneHotMeanIoU")
}
COUNTERS[keras.metrics.R2Score] = add_to_r2
