"""The running means that an own `train_step` keeps: a few additions in place of Keras's casts."""

import contextlib

from keras_dawn.foundation import keras_context, keras_masks, keras_variables

import keras
import torch

_WIDE = torch.float32, torch.float64  # in a narrower one a weight is rounded first


class NativeMeans:
    """Lets `keras.metrics.Mean` of a model be updated natively, for a step at a time.

    Args:
        model: `keras.Model`.
    """

    def __init__(self, model):
        self.model = model
        self._means = []
        self.refresh()

    def refresh(self):
        """Looks for metrics anew."""
        metrics = {id(m): m for m in self.model.metrics if type(m) is keras.metrics.Mean}
        self._means = [NativeMean(metric) for metric in metrics.values()]

    @contextlib.contextmanager
    def in_place(self):
        """The metrics' methods are native inside this context."""
        placed = []
        try:
            for mean in self._means:
                own = vars(mean.metric)
                # Else somebody has put methods there, or an outer step has.
                if "update_state" not in own and "result" not in own:
                    placed.append(mean.metric)
                    object.__setattr__(mean.metric, "update_state", mean.update_state)
                    object.__setattr__(mean.metric, "result", mean.result)
            yield
        finally:
            for metric in placed:
                object.__delattr__(metric, "update_state")
                object.__delattr__(metric, "result")


class NativeMean:
    """`update_state` and `result` of one mean.

    Args:
        metric: `keras.metrics.Mean`.
    """

    def __init__(self, metric):
        self.metric = metric

    def update_state(self, values, sample_weight=None):
        metric = self.metric
        total = keras_variables.memory_of(metric.total)
        weight = 1 if sample_weight is None else sample_weight
        if (
            type(values) is not torch.Tensor
            or values.ndim
            or type(weight) not in (int, float)
            or total.dtype not in _WIDE
            or values.is_complex()
            or keras_masks.mask_of(values) is not None
            or keras_context.in_stateless_scope()
        ):
            return keras.metrics.Mean.update_state(metric, values, sample_weight)
        values = values.detach().to(total.dtype)
        total.add_(values if sample_weight is None else values * weight)
        keras_variables.memory_of(metric.count).add_(weight)
        return None

    def result(self):
        metric = self.metric
        total = keras_variables.memory_of(metric.total)
        if total.dtype != torch.float32 or keras_context.in_stateless_scope():
            return keras.metrics.Mean.result(metric)  # whose dtype follows `floatx`
        count = keras_variables.memory_of(metric.count)
        if not count.is_cuda and count:  # a look that makes nobody wait
            return total / count
        return torch.where(count == 0, 0, total / count)  # as Keras divides: 0 by 0 is 0
