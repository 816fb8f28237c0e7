"""Metrics on several ranks: summed, and means that are fed with one number a batch."""

import contextlib
import functools

from keras_dawn.distributed.collectives import sum_over_ranks
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation import keras_metrics
from keras_dawn.foundation.model_state import kept, metric_variables

import keras
import numpy as np
import torch


def metrics_of_all_ranks(model, compute):
    """Calls `compute()` with the model's metrics summed over the ranks, for the call only."""
    tensors = [variable.value for variable in metric_variables(model)]
    # Put back afterwards: each rank goes on counting its own, or the next sum would count twice.
    with kept(tensors):
        sum_over_ranks(tensors)
        # A result may be the variable itself, which gets the rank's own numbers back.
        return keras.tree.map_structure(_copied, compute())


def _copied(value):
    if isinstance(value, keras.Variable):
        value = value.value
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    return value.copy() if isinstance(value, np.ndarray) else value


def logs_of_all_ranks(model, logs):
    """The logs of an epoch or an evaluation, of those that this rank's last step returned.

    What a step returns of the model's metrics is of all ranks, also where it returns more, or the
    results of those of `compile` in a dict of their own; what else it returns stays as it is.

    Args:
        model: `keras.Model`, whose `get_metrics_result` is of all ranks.
        logs: dict, or what else the step returned.
    """
    of_all = model.get_metrics_result()
    if not isinstance(logs, dict):
        return logs
    of_all = _flat(of_all)  # as a metric's dict becomes one of the logs'
    logs = _flat(logs)
    if logs.keys() == of_all.keys():
        return of_all
    own = _flat(type(model).get_metrics_result(model))
    return {
        name: of_all[name] if name in own and _same(value, own[name]) else value
        for name, value in logs.items()
    }


def _flat(logs):
    flat = {}
    for name, value in logs.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def _same(value, other):
    arrays = (keras.ops.convert_to_numpy(each) for each in (value, other))
    return np.array_equal(*arrays, equal_nan=True)


def check_metrics(model):
    """Refuses metrics whose state may not be summed over ranks.

    Raises:
        ValueError: a metric class of one's own that does not say `sums_over_ranks = True`.
    """
    for metric in _each(model):
        own = not type(metric).__module__.startswith("keras.")
        if own and not getattr(metric, "sums_over_ranks", False):
            raise ValueError(
                f"The metric {metric.name!r} ({type(metric).__name__}) is not one of Keras's. On "
                "several ranks its variables are summed; if that is right, set "
                "`sums_over_ranks = True` on the class."
            )


def _each(model):
    """The metrics of a model, those of `compile` too, which Keras keeps in one."""
    return [part for one in model.metrics for part in getattr(one, "metrics", [one])]


class Weighed(contextlib.AbstractContextManager):
    """Inside, a single number given to a mean of the model is weighted by the rank's part.

    `self.loss_tracker.update_state(loss)` counts every batch once, whatever its size, and so does
    `compile(metrics=[…])` with a function that makes one number of a batch. The number of a part
    is that of fewer images than another rank's where a batch is shared out unevenly; the sums over
    the ranks are those of one process if it counts accordingly. Values of each image, and what
    comes with a `sample_weight`, are right as they are.

    Args:
        model: compiled `keras.Model`.
        weight: callable without arguments: what this rank's part of the batch weighs.
    """

    def __init__(self, model, weight):
        self._model, self._weight = model, weight
        self._replaced = {}

    def __enter__(self):
        self.follow()
        return self

    def follow(self):
        """Takes up metrics that were built since, as those of `compile` are by the first batch."""
        for metric in _each(self._model):
            weighing = None if id(metric) in self._replaced else _weighing(metric, self._weight)
            if weighing is not None:
                self._replaced[id(metric)] = metric, vars(metric).get("update_state")
                vars(metric)["update_state"] = weighing

    def __exit__(self, *exception):
        for metric, replaced in self._replaced.values():
            if replaced is None:
                del vars(metric)["update_state"]
            else:  # an evaluation within a training
                vars(metric)["update_state"] = replaced
        self._replaced.clear()


def _weighing(metric, weight):
    """The `update_state` of a mean that may be given one number, or `None` for other metrics."""
    kind = type(metric)
    if kind.update_state is keras.metrics.Mean.update_state:
        return functools.partial(_update_mean, metric, weight)
    if kind.update_state is not keras.metrics.MeanMetricWrapper.update_state:
        return None
    if keras_metrics.is_of_keras_function(metric):  # which have a value for each image
        return None

    class Weighing(keras.metrics.Mean):
        def update_state(self, values, sample_weight=None):
            return _update_mean(self, weight, values, sample_weight)

    # Between the wrapper, which calls the function, and the mean that it hands the values to.
    counting = type(kind.__name__, (kind, Weighing), {})

    def update_state(y_true, y_pred, sample_weight=None):
        metric.__class__ = counting
        try:
            return kind.update_state(metric, y_true, y_pred, sample_weight)
        finally:
            metric.__class__ = kind

    return update_state


def _update_mean(metric, weight, values, sample_weight=None):
    if sample_weight is None and _is_number(values):
        # On all ranks together a batch counts once, however many they are.
        sample_weight = weight() / current().world_size
    return keras.metrics.Mean.update_state(metric, values, sample_weight)


def _is_number(values):
    return isinstance(values, (int, float)) or getattr(values, "ndim", None) == 0
