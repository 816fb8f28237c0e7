"""Means that a step of the user's own feeds with one number a batch, on several ranks."""

import contextlib

import keras


@contextlib.contextmanager
def weighed(model, weight):
    """A number given to one of the model's `Mean` metrics counts as the rank's part weighs.

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
        if sample_weight is None and _is_number(values) and weight() != 1.0:
            sample_weight = weight()
        return plain(metric, values, sample_weight)

    return update_state


def _is_number(values):
    return isinstance(values, (int, float)) or getattr(values, "ndim", None) == 0
