"""Metrics that count right and wrong decisions, counted on the device as Keras counts them.

Each function adds one batch to a metric's variables, or raises `NotAlikeError` before that.
"""

from keras_dawn.foundation import keras_metrics, keras_variables, keras_version
from keras_dawn.native import capture
from keras_dawn.native.steps.loss_targets import NotAlikeError, same_rank
from keras_dawn.native.steps.threshold_buckets import Counts, GatheredBuckets, by_buckets

import keras
import torch


def counts(metric, targets, outputs, weight, thresholds, places):
    """The `Counts` of one batch.

    Args:
        metric: Keras metric; whether its thresholds lie evenly says which way it counts.
        targets, outputs: tensors of one shape, but for a last axis of 1.
        weight: sample weights, or `None`.
        thresholds: their numbers, rising.
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
        return by_buckets(outputs, labels, weight, thresholds)
    weight = torch.ones_like(outputs) if weight is None else weight
    true, false = torch.where(labels, weight, 0.0), torch.where(labels, 0.0, weight)
    # One comparison with all thresholds, and sums as products of matrices.
    over = (outputs > places(list(thresholds)).unsqueeze(1)).to(dtype)
    tp, fp = over @ true, over @ false
    return Counts(tp, fp, false.sum() - fp, true.sum() - tp)


def quick_decisions(metric, targets, outputs):
    """What adds batches like this one, without weights, to an ordinary metric; or `None`."""
    kind = type(metric)
    names = _STATE.get(kind)
    if names is None or getattr(metric, "top_k", None) is not None or not outputs.numel():
        return None
    if getattr(metric, "class_id", None) is not None or not keras_metrics.even_thresholds(metric):
        return None
    auc = kind is keras.metrics.AUC
    if auc and (metric.multi_label or metric.label_weights is not None):
        return None
    variables = [getattr(metric, name) for name in names]
    dtype = keras_variables.memory_of(variables[0]).dtype
    if targets.shape != outputs.shape or not outputs.is_floating_point():
        return None
    places, logits = [_COUNT_OF[name] for name in names], auc and keras_metrics.takes_logits(metric)

    gathered = None
    if not capture.can_be_captured(
        outputs.device
    ):  # a graph that is replayed tells nobody that it counts
        gathered = GatheredBuckets(variables, places, keras_metrics.thresholds_of(metric))

    def add(targets, outputs):
        outputs = torch.sigmoid(outputs) if logits else outputs
        if outputs.dtype != dtype:  # half precision, which the thresholds are too close for
            outputs = outputs.to(dtype)
        if targets.dtype == torch.float64:  # Keras casts them: a very small one becomes 0
            targets = targets.to(dtype)
        if gathered is not None:
            gathered.add(outputs, targets != 0)
            return
        found = by_buckets(outputs, targets != 0, None, keras_metrics.thresholds_of(metric))
        states = [keras_variables.memory_of(variable) for variable in variables]
        torch._foreach_add_(states, [getattr(found, place) for place in places])

    return add


def add_decisions(metric, targets, outputs, weight, places):
    """Adds a batch to `Precision`, `Recall` and those at a given sensitivity and the like."""
    thresholds = keras_metrics.thresholds_of(metric)
    found = counts(metric, targets, outputs, weight, thresholds, places)
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
        # torch has no greatest one of bools; Keras makes them these numbers, too.
        targets = targets.to(torch.uint8) if targets.dtype == torch.bool else targets
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
    if getattr(torch, metric.dtype) != dtype:
        raise NotAlikeError(f"numbers that Keras rounds to {metric.dtype} first")
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
