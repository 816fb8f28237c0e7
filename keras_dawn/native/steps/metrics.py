"""Metrics counted on the device, straight into the Keras metrics' variables."""

from keras_dawn.foundation import keras_internals
from keras_dawn.native.steps.losses import class_numbers

import keras
import numpy as np
import torch


class NativeMetrics:
    """Feeds the loss tracker and the compiled metrics.

    Accuracies, top-k and the loss are counted in torch; other metrics, and targets that a
    counter does not take, are left to Keras on the native outputs.
    """

    def __init__(self, model, outputs):
        self.model = model
        self.tracker = keras_internals.loss_tracker(model)
        unweighted, weighted = keras_internals.compiled_metrics(model)
        flat = len(outputs) == 1 and len(outputs[0].shape) == 2
        counted = [(metric, _COUNTERS.get(type(metric)) if flat else None) for metric in unweighted]
        self.reason = None
        if weighted or any(counter is None for _, counter in counted):
            names = [m.name for m, counter in counted if counter is None] + [
                m.name for m in weighted
            ]
            self.reason = f"Keras counts all metrics, because of {', '.join(names)}"
            counted = []
        self._counted = counted
        self._any = bool(unweighted or weighted)

    @torch.no_grad()
    def track(self, loss, batch):
        """Adds one batch's loss."""
        if self.tracker is None:
            return
        if loss.ndim:  # a loss that is not reduced: Keras knows what its mean is
            self.tracker.update_state(loss.detach(), sample_weight=batch)
            return
        total = self.tracker.total.value
        total.add_(loss.detach().to(total.dtype) * batch)
        self.tracker.count.value.add_(batch)

    @torch.no_grad()
    def update(self, loss, targets, outputs, sample_weight, batch):
        """Adds one batch."""
        self.track(loss, batch)
        if not self._any:
            return
        hits = None
        if self.reason is None and sample_weight is None and isinstance(outputs, torch.Tensor):
            hits = self._hits(targets, outputs)
        if hits is None:
            keras_internals.update_compiled_metrics(self.model, targets, outputs, sample_weight)
            return
        for (metric, _), count in zip(self._counted, hits, strict=True):
            metric.total.value.add_(count)
            metric.count.value.add_(len(outputs))

    def _hits(self, targets, outputs):
        """The hits of each metric, or `None` if a counter does not take these targets."""
        if not isinstance(targets, torch.Tensor) or keras_internals.mask_of(outputs) is not None:
            return None
        hits = []
        for metric, counter in self._counted:
            count = counter(metric, targets, outputs)
            if count is None:
                return None
            hits.append(count)
        return hits

    def results(self):
        """What `get_metrics_result` says now, as Python numbers: waits for the device.

        The class's own is asked: an accelerated model's adds up all ranks.
        """
        return as_numbers(type(self.model).get_metrics_result(self.model))


def as_numbers(results):
    """Results by name with the scalars as floats, which come from the device all at once.

    Others, such as the F1 score of each class, become NumPy arrays of their own.
    """
    numbers, waiting = {}, {}
    for name, value in results.items():
        value = value.value if isinstance(value, keras.Variable) else value
        if isinstance(value, torch.Tensor):
            value = value.detach()
            if value.ndim:
                value = np.array(keras.ops.convert_to_numpy(value))
            else:
                waiting.setdefault((value.dtype, value.device), []).append((name, value))
        numbers[name] = value
    for group in waiting.values():
        values = torch.stack([value for _, value in group]).tolist()
        for (name, _), value in zip(group, values, strict=True):
            numbers[name] = float(value)
    return numbers


def _sparse_accuracy(_, targets, outputs):
    if targets.is_floating_point():  # 1.5 is no class, not class 1
        whole = targets.to(outputs.dtype).to(torch.float64)
        classes = class_numbers(whole, outputs)
        if classes is not None:
            classes = classes.masked_fill(classes != whole.view_as(classes), -1)
    else:
        classes = _labels(targets, outputs)
    if classes is None or _rounds_classes(outputs):
        return None
    return (outputs.argmax(-1) == classes).sum()


def _accuracy(_, targets, outputs):
    if not _one_hot(targets, outputs):
        return None
    return (outputs.argmax(-1) == targets.argmax(-1)).sum()


def _sparse_top_k(metric, targets, outputs):
    if getattr(metric, "from_sorted_ids", False):
        return None
    return _hits_of_top_k(metric, _labels(targets, outputs), outputs)


def _top_k(metric, targets, outputs):
    one_hot = _one_hot(targets, outputs)
    classes = targets.to(outputs.dtype).argmax(-1) if one_hot else None
    return _hits_of_top_k(metric, classes, outputs)


def _hits_of_top_k(metric, classes, outputs):
    """How many get at least the k-th highest output: with ties there are more than k such."""
    k = keras_internals.settings_of_metric(metric).get("k")
    if classes is None or not isinstance(k, int) or not 0 < k <= outputs.shape[-1]:
        return None
    least = outputs.topk(k).values[:, -1:]
    return (outputs.gather(1, classes[:, None]) >= least).sum()


def _labels(targets, outputs):
    """Whole class numbers, or `None`: Keras compares as floats of the outputs' dtype."""
    if targets.is_floating_point() or _rounds_classes(outputs):
        return None
    return class_numbers(targets, outputs)


def _one_hot(targets, outputs):
    return (
        targets.shape == outputs.shape
        and targets.dtype in (outputs.dtype, torch.float32, torch.int64, torch.uint8)
        and not _rounds_classes(outputs)
    )


def _rounds_classes(outputs):
    """Whether the outputs' dtype cannot hold every class number; 2 ** 8 in bfloat16."""
    half = outputs.dtype in (torch.float16, torch.bfloat16)
    return half and outputs.shape[-1] > 256


_COUNTERS = {
    keras.metrics.SparseCategoricalAccuracy: _sparse_accuracy,
    keras.metrics.CategoricalAccuracy: _accuracy,
    keras.metrics.SparseTopKCategoricalAccuracy: _sparse_top_k,
    keras.metrics.TopKCategoricalAccuracy: _top_k,
}
