"""One metric counted on the device, straight into the variables of the Keras metric."""

from keras_dawn.foundation import keras_masks, keras_metrics, keras_variables
from keras_dawn.native.steps.batch_sums import SUM_OF
from keras_dawn.native.steps.confusion import COUNTERS, quick_decisions
from keras_dawn.native.steps.loss_targets import NotAlikeError, are_tensors, same_rank
from keras_dawn.native.steps.metric_values import knows, settings_for, values_of
from keras_dawn.native.steps.settings import Settings
from keras_dawn.native.steps.unchanged import Unchanged
from keras_dawn.native.steps.weighing import add_sum, add_to_mean, on_device

import keras


class MetricCounter:
    """Adds batches to a Keras metric, as its `update_state` does.

    Args:
        metric: `keras.Metric`.
    """

    def __init__(self, metric):
        self._metric = metric
        self.settings = Settings(metric)  # what counting a batch reads
        self._unchanged = Unchanged(metric, "_fn_kwargs")
        self._kind = self._quick = None  # of the last batch, and how such a one is counted

    def is_known(self):
        """Whether the metric can be counted without Keras."""
        if self._form() is not None:
            return True
        return knows(keras_metrics.metric_function(self._metric))

    def _form(self):
        """The function that counts a batch of a metric of Keras's with an update of its own.

        `None` for other metrics, and where somebody has put another update in its place.
        """
        metric, kind = self._metric, type(self._metric)
        update, form = _FORMS.get(kind, (None, None))
        patched = "update_state" in vars(metric) or kind.update_state is not update
        return None if patched else form

    def add(self, targets, outputs, weight=None):
        """Adds a batch to the metric's variables; whether there was a form for it.

        Args:
            targets, outputs: what `update_state` takes.
            weight: sample weights, or `None`.
        """
        if not are_tensors(targets, outputs, weight):
            return False
        if not outputs.is_floating_point() or not outputs.numel():
            return False
        if weight is None and keras_masks.mask_of(outputs) is None:
            kind = targets.shape, targets.dtype, outputs.shape, outputs.dtype
            if not self._unchanged() or kind != self._kind:
                self._kind, self._quick = kind, self._quick_way(targets, outputs)
            if self._quick is not None:
                self._quick(targets, outputs)
                return True
        try:
            return self._counted(targets, outputs, weight)
        except NotAlikeError:
            return False

    def _quick_way(self, targets, outputs):
        """What counts batches like this one in fewer calls, or `None`."""
        metric = self._metric
        if type(metric) in COUNTERS:
            return self._form() and quick_decisions(metric, targets, outputs)
        function = keras_metrics.metric_function(metric)
        make = SUM_OF.get(function)
        if make is None or outputs.dtype != keras_variables.memory_of(metric.total).dtype:
            return None
        settings, samples = keras_metrics.settings_of_metric(metric), len(outputs)
        try:
            total = make(targets, outputs, **settings_for(function, settings))
        except NotAlikeError:
            return None
        return total and (lambda y, found: add_sum(metric, total(y, found), samples))

    def _counted(self, targets, outputs, weight):
        metric = self._metric
        form = self._form()
        if form is not None:
            form(metric, targets, outputs, weight, self._on_the_device)
            return True
        function = keras_metrics.metric_function(metric)
        if function is None:
            return False
        values = values_of(function, targets, outputs, keras_metrics.settings_of_metric(metric))
        if values is None:
            return False
        add_to_mean(metric, values, weight, keras_masks.mask_of(outputs))
        return True

    def _on_the_device(self, thresholds):
        """A list of thresholds as a tensor, which is made once."""
        state = self._metric.variables[0].value
        return on_device(tuple(thresholds), state.dtype, state.device)


def _add_to_root_mean_square(metric, targets, outputs, weight, places):
    """Adds a batch to a `RootMeanSquaredError`."""
    dtype = metric.total.value.dtype
    targets, outputs = same_rank(targets.to(dtype), outputs.to(dtype))
    if targets.shape != outputs.shape:
        raise NotAlikeError("targets that are broadcast")
    add_to_mean(metric, (outputs - targets).square(), weight, None)


_ALL = {**COUNTERS, keras.metrics.RootMeanSquaredError: _add_to_root_mean_square}
_FORMS = {kind: (kind.update_state, form) for kind, form in _ALL.items()}
