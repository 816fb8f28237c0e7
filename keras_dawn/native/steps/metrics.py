"""Metrics counted on the device, straight into the Keras metrics' variables."""

from keras_dawn.foundation import keras_masks, keras_metrics, keras_variables
from keras_dawn.native.steps.beside import detached
from keras_dawn.native.steps.confusion import COUNTERS
from keras_dawn.native.steps.loss_targets import NotAlikeError, same_rank
from keras_dawn.native.steps.metric_values import knows, values_of
from keras_dawn.native.steps.settings import Settings
from keras_dawn.native.steps.weighing import add_to_mean

import keras
import numpy as np
import torch


class NativeMetrics:
    """Feeds the loss tracker and the compiled metrics.

    What has a form in torch is counted in torch; other metrics, and batches that a form does not
    take, are left to the Keras metric, on the native outputs.

    Attributes:
        reason: str, which metrics Keras counts, or `None`.
    """

    def __init__(self, model):
        self.model = model
        self.tracker = keras_metrics.loss_tracker(model)
        self._groups = keras_metrics.compiled_metrics(model)
        self._places = {}  # id of a metric → its thresholds, as a list and on the device
        everyone = [metric for pair in self._groups for group in pair for metric in group]
        unknown = [metric.name for metric in everyone if not is_known(metric)]
        self.reason = f"Keras counts {', '.join(unknown)}" if unknown else None
        self._everyone = everyone
        self._settings = list(map(Settings, everyone))
        self.left_to_keras = False  # something of the last batch

    @torch.no_grad()
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
        total.add_(loss.detach().to(total.dtype), alpha=batch)
        keras_variables.memory_of(self.tracker.count).add_(batch)

    @torch.no_grad()
    def update(self, loss, targets, outputs, sample_weight, batch):
        """Adds one batch."""
        self.left_to_keras = False
        self.track(loss, batch)
        if not self._everyone:
            return
        parts = self._by_output(targets, outputs, sample_weight)
        if parts is None:
            self.left_to_keras = True
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
        if add_batch(metric, targets, outputs, weight, self._thresholds_of(metric)):
            return
        self.left_to_keras = True
        if weight is None:
            metric.update_state(targets, outputs)
        else:
            metric.update_state(targets, outputs, weight)

    def _thresholds_of(self, metric):
        """A function from a list of thresholds to a tensor that is made once."""

        def on_the_device(thresholds):
            known = self._places.get(id(metric))
            if known is None or known[0] != thresholds:
                state = metric.variables[0].value
                known = self._places[id(metric)] = (list(thresholds), state.new_tensor(thresholds))
            return known[1]

        return on_the_device

    def settings(self):
        """What counting a batch reads of the metrics."""
        return tuple(settings() for settings in self._settings)

    def results(self):
        """What `get_metrics_result` says now, as Python numbers: waits for the device.

        The class's own is asked: an accelerated model's adds up all ranks.
        """
        return as_numbers(type(self.model).get_metrics_result(self.model))


def add_batch(metric, targets, outputs, weight, places):
    """Adds a batch to a metric's variables; whether there was a form for it.

    Args:
        metric: `keras.Metric`.
        targets, outputs: what `update_state` takes.
        weight: sample weights, or `None`.
        places: callable from a list of thresholds to a tensor on the device.
    """
    tensors = [targets, outputs] if weight is None else [targets, outputs, weight]
    if not all(isinstance(part, torch.Tensor) for part in tensors):
        return False
    if not outputs.is_floating_point() or not outputs.numel():
        return False
    try:
        return _counted(metric, targets, outputs, weight, places)
    except NotAlikeError:
        return False


def _counted(metric, targets, outputs, weight, places):
    counter = COUNTERS.get(type(metric))
    if counter is not None:
        counter(metric, targets, outputs, weight, places)
        return True
    if type(metric) is keras.metrics.RootMeanSquaredError:
        dtype = metric.total.value.dtype
        targets, outputs = same_rank(targets.to(dtype), outputs.to(dtype))
        if targets.shape != outputs.shape:
            raise NotAlikeError("targets that are broadcast")
        add_to_mean(metric, (outputs - targets).square(), weight, None)
        return True
    function = keras_metrics.metric_function(metric)
    if function is None:
        return False
    values = values_of(function, targets, outputs, keras_metrics.settings_of_metric(metric))
    if values is None:
        return False
    add_to_mean(metric, values, weight, keras_masks.mask_of(outputs))
    return True


def is_known(metric):
    """Whether a metric can be counted without Keras."""
    kind = type(metric)
    if kind in COUNTERS or kind is keras.metrics.RootMeanSquaredError:
        return True
    return knows(keras_metrics.metric_function(metric))


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
