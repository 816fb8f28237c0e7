"""Metrics on several ranks: summed, and means that are fed with one number a batch."""

import contextlib

from keras_dawn.distributed.collectives import sum_over_ranks
from keras_dawn.distributed.ranks import current
from keras_dawn.foundation.model_state import overwrite

import keras


def metrics_of_all_ranks(model, compute):
    """Calls `compute()` with the model's metrics summed over the ranks, for the call only."""
    tensors = [variable.value for metric in model.metrics for variable in metric.variables]
    # Put back afterwards: each rank goes on counting its own, or the next sum would count twice.
    own = [tensor.detach().clone() for tensor in tensors]
    sum_over_ranks(tensors)
    try:
        return compute()
    finally:
        for tensor, value in zip(tensors, own, strict=True):
            overwrite(tensor, value)


def check_metrics(model):
    """Refuses metrics whose state may not be summed over ranks.

    Raises:
        ValueError: a metric class of one's own that does not say `sums_over_ranks = True`.
    """
    for metric in model.metrics:
        for part in getattr(metric, "metrics", [metric]):
            own = not type(part).__module__.startswith("keras.")
            if own and not getattr(part, "sums_over_ranks", False):
                raise ValueError(
                    f"The metric {part.name!r} ({type(part).__name__}) is not one of Keras's. On "
                    "several ranks its variables are summed; if that is right, set "
                    "`sums_over_ranks = True` on the class."
                )


@contextlib.contextmanager
def weighed(model, weight):
    """Inside, a single number given to a `Mean` metric of the model is weighted by the rank's part.

    `self.loss_tracker.update_state(loss)` counts every batch once, whatever its size. The loss of
    a part is that of fewer images than another rank's where a batch is shared out unevenly; the
    sums over the ranks are those of one process if it counts accordingly. Values of each image,
    and what comes with a `sample_weight`, are right as they are.

    Args:
        model: compiled `keras.Model`.
        weight: callable without arguments: what this rank's part of the batch weighs.
    """
    metrics = [
        metric
        for metric in model.metrics
        # Its subclasses compute values of each image, which are counted one by one.
        if type(metric).update_state is keras.metrics.Mean.update_state
    ]
    before = [vars(metric).get("update_state") for metric in metrics]
    for metric in metrics:
        vars(metric)["update_state"] = _weighing(metric, weight)
    try:
        yield
    finally:
        for metric, replaced in zip(metrics, before, strict=True):
            if replaced is None:
                del vars(metric)["update_state"]
            else:  # an evaluation within a training
                vars(metric)["update_state"] = replaced


def _weighing(metric, weight):
    plain = type(metric).update_state

    def update_state(values, sample_weight=None):
        if sample_weight is None and _is_number(values):
            # On all ranks together a batch counts once, however many they are.
            sample_weight = weight() / current().world_size
        return plain(metric, values, sample_weight)

    return update_state


def _is_number(values):
    return isinstance(values, (int, float)) or getattr(values, "ndim", None) == 0
