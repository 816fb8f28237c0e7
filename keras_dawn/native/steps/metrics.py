"""Metrics counted on the device, straight into the Keras metrics' variables."""

from keras_dawn.foundation import keras_metrics, keras_variables
from keras_dawn.native.steps.beside import detached
from keras_dawn.native.steps.metric_counter import MetricCounter
from keras_dawn.native.steps.weighing import count_up

import keras
import numpy as np
import torch

_TENSORS = keras_variables.TENSORS


class NativeMetrics:
    """Feeds the loss tracker and the compiled metrics.

    What has a form in torch is counted in torch; other metrics, and batches that a form does not
    take, are left to the Keras metric, on the native outputs. To be called without gradients.

    Attributes:
        reason: str, which metrics Keras counts, or `None`.
    """

    def __init__(self, model):
        self.model = model
        self.tracker = keras_metrics.loss_tracker(model)
        self._groups = keras_metrics.compiled_metrics(model)
        everyone = {id(m): m for pair in self._groups for group in pair for m in group}
        self._counters = {name: MetricCounter(metric) for name, metric in everyone.items()}
        unknown = [m.name for name, m in everyone.items() if not self._counters[name].is_known()]
        self.reason = f"Keras counts {', '.join(unknown)}" if unknown else None
        self.left_to_keras = False  # something of the last batch

    def track(self, loss, batch):
        """Adds one batch's loss."""
        if self.tracker is None:
            return
        if loss.ndim:  # a loss that is not reduced: Keras knows what its mean is
            self.left_to_keras = True
            self.tracker.update_state(loss.detach(), sample_weight=batch)
            return
        total = keras_variables.memory_of(self.tracker.total)
        # `alpha`: times the batch without a kernel of its own.
        total.add_(loss if loss.dtype is total.dtype else loss.to(total.dtype), alpha=batch)
        count_up(keras_variables.memory_of(self.tracker.count), batch)

    def update(self, loss, targets, outputs, sample_weight, batch):
        """Adds one batch."""
        self.left_to_keras = False
        self.track(loss, batch)
        if not self._counters:
            return
        single = len(self._groups) == 1 and type(outputs) in _TENSORS and type(targets) in _TENSORS
        if single and (sample_weight is None or type(sample_weight) in _TENSORS):
            parts = [targets], [outputs], [sample_weight]
        else:
            parts = self._by_output(targets, outputs, sample_weight)
        if parts is None:
            self.left_to_keras = True
            outputs = detached(outputs)
            keras_metrics.update_compiled_metrics(self.model, targets, outputs, sample_weight)
            return
        for (unweighted, weighted), y, found, weight in zip(self._groups, *parts, strict=True):
            for metric in unweighted:
                self._add(metric, y, found, None)
            for metric in weighted:
                self._add(metric, y, found, weight)

    def _by_output(self, targets, outputs, sample_weight):
        """Targets, outputs and weights of each output, or `None` where Keras pairs them."""
        parts = [
            keras_metrics.flat_outputs(self.model, part) for part in (targets, detached(outputs))
        ]
        if any(len(part) != len(self._groups) for part in parts):
            return None
        weights = [None] * len(self._groups)
        if sample_weight is not None:
            given = keras_metrics.flat_outputs(self.model, sample_weight)
            # One array of weights is for all outputs, as in Keras.
            weights = given if len(given) == len(weights) else [given[0] for _ in weights]
        return *parts, weights

    def _add(self, metric, targets, outputs, weight):
        if self._counters[id(metric)].add(targets, outputs, weight):
            return
        self.left_to_keras = True
        outputs = detached(outputs)
        if weight is None:
            metric.update_state(targets, outputs)
        else:
            metric.update_state(targets, outputs, weight)

    def settings(self):
        """What counting a batch reads of the metrics."""
        return tuple(counter.settings() for counter in self._counters.values())

    def results(self):
        """What `get_metrics_result` says now, as Python numbers: waits for the device.

        The class's own is asked: an accelerated model's adds up all ranks.
        """
        return as_numbers(type(self.model).get_metrics_result(self.model))


def as_numbers(results):
    """Results by name with the scalars as floats, which come from the device all at once.

    Others, such as the F1 score of each class, become NumPy arrays of their own.
    """
    numbers, waiting = {}, {}  # one wait for the device for each dtype, not one a metric
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
