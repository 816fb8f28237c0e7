"""The metrics of a compiled model, and what a metric computes with."""

import contextlib
import inspect

import keras
from keras.src.metrics.accuracy_metrics import accuracy as ACCURACY  # noqa: F401
from keras.src.metrics.regression_metrics import (
    cosine_similarity as COSINE_SIMILARITY,  # noqa: F401  (neither is exported)
)
from keras.src.utils import python_utils


def loss_tracker(model):
    """The metric that keeps the mean loss, or `None`."""
    return model._loss_tracker


def settings_of_metric(metric):
    """What a metric that wraps a function calls it with."""
    return metric._fn_kwargs


def as_evaluate_gives(logs):
    """Results of metrics as `evaluate` returns them: floats, and arrays of one for each class."""
    return python_utils.pythonify_logs(logs)


def compiled_metrics(model):
    """The metrics that `compute_metrics` feeds, `(unweighted, weighted)` for each output."""
    compile_metrics = getattr(model, "_compile_metrics", None)
    if compile_metrics is None or not compile_metrics.built:
        return []
    # Outputs without metrics have `None` there.
    groups = (compile_metrics._flat_metrics, compile_metrics._flat_weighted_metrics)
    return [
        tuple([] if group is None else list(group.metrics) for group in pair)
        for pair in zip(*groups, strict=True)
    ]


def metrics_given(model):
    """What `compile` was given as metrics: objects, functions, names."""
    compile_metrics = getattr(model, "_compile_metrics", None)
    if compile_metrics is None:
        return []
    given = compile_metrics._user_metrics, compile_metrics._user_weighted_metrics
    return [each for each in keras.tree.flatten(given) if each is not None]


def log_names(model):
    """What losses and metrics of a model, as its training begins, are called in the logs of `fit`.

    Of two of the same name, to which Keras gives numbers there, both have it.
    """
    names, compiled = [], getattr(model, "_compile_metrics", None)
    for metric in model.metrics:
        if metric is not compiled:
            names.append(metric.name)
        elif compiled.built:
            for part in filter(None, [*compiled._flat_metrics, *compiled._flat_weighted_metrics]):
                output = f"{part.output_name}_" if part.output_name else ""
                names += [f"{output}{each.name}" for each in part.metrics]
    return names


def flat_outputs(model, structure):
    """Targets, outputs or weights as a list with one entry for each output's metrics."""
    return model._compile_metrics._flatten_y(structure)


def metric_function(metric):
    """The function that a metric takes the mean of, or `None` if it does more than that."""
    wrapper = keras.metrics.MeanMetricWrapper
    kind = type(metric)
    plain = isinstance(metric, wrapper) and kind.update_state is wrapper.update_state
    return metric._fn if plain and "update_state" not in vars(metric) else None


def is_of_keras_function(metric):
    """Whether a metric that wraps a function wraps one of Keras's own."""
    function = metric._fn
    return inspect.isfunction(function) and function.__module__.startswith("keras.")


def even_thresholds(metric):
    """Whether a metric's thresholds lie at equal distances, as it has found out itself."""
    return metric._thresholds_distributed_evenly


def thresholds_of(metric):
    """A metric's thresholds, past the list that an `AUC` makes of them for whoever asks."""
    own = getattr(metric, "_thresholds", None)
    return metric.thresholds if own is None else own


def takes_logits(metric):
    """Whether an `AUC` is told logits."""
    return metric._from_logits


def is_built(metric):
    """Whether a metric that waits for the outputs' shape has its variables."""
    return metric._built


def counted_condition(metric):
    """What `TruePositives` and its like count: `"tp"`, `"fp"`, `"tn"` or `"fn"`."""
    return metric._confusion_matrix_cond.value


def update_compiled_metrics(model, targets, outputs, sample_weight):
    """Feeds all compiled metrics the Keras way."""
    if model._compile_metrics is not None:
        model._compile_metrics.update_state(targets, outputs, sample_weight)


def own_metrics(model, inputs, targets, outputs, sample_weight):
    """The logs of a model that brings its own `compute_metrics`."""
    return model.compute_metrics(inputs, targets, outputs, sample_weight=sample_weight)


@contextlib.contextmanager
def logs_made_by(model, make):
    """Inside, `make(logs)` gives the logs of an epoch or an evaluation, of those of its last step.

    By itself Keras gives the results of the metrics where these have the same names, and else the
    last step's logs as they are.
    """
    before = _make_logs_by(model, make)
    try:
        yield
    finally:
        _make_logs_by(model, before)  # of a training around an evaluation, or the class's own


def end_without_steps(model):
    """Makes an epoch end with what the metrics hold, if all its steps were done before."""

    def results(logs):
        _make_logs_by(model, before)
        return model._get_metrics_result_or_logs(logs) if logs else dict(model.get_metrics_result())

    before = _make_logs_by(model, results)


def _make_logs_by(model, function):
    """Puts a function, or with `None` none, before the class's own; returns the one before."""
    name = "_get_metrics_result_or_logs"
    before = vars(model).get(name)
    if function is not None:
        # Past `Model.__setattr__`, which would track a function as a part of the model.
        object.__setattr__(model, name, function)
    elif before is not None:
        object.__delattr__(model, name)
    return before
