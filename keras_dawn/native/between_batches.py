"""What of the user's runs between two steps, and may change the model there."""

import types

from keras_dawn.foundation import keras_losses, keras_metrics, keras_models

import keras
from torch.utils.data import DataLoader, TensorDataset

_KNOWN = ("keras.", "keras_dawn.")
_BATCH_EVENTS = {
    "fit": ("on_batch_begin", "on_batch_end", "on_train_batch_begin", "on_train_batch_end"),
    "evaluate": ("on_test_batch_begin", "on_test_batch_end"),
    "predict": ("on_predict_batch_begin", "on_predict_batch_end"),
}  # fmt: skip


def watches_batches(callbacks, method):
    """Whether some callback of the user's acts between batches, and may change layers there.

    Args:
        callbacks: list.
        method: str, "fit" for the batches that are trained on, "evaluate" or "predict".
    """
    events = _BATCH_EVENTS[method]
    for callback in callbacks:
        # What is no callback has Keras's error.
        if any(name in getattr(callback, "__dict__", ()) for name in events):
            return True  # put on this one callback, as LambdaCallback does
        kind = type(callback)
        known = kind.__module__.startswith(_KNOWN)
        if known and kind is not keras.callbacks.LambdaCallback:
            continue
        owner = callback if kind is keras.callbacks.LambdaCallback else kind
        plain = keras.callbacks.Callback
        if any(
            getattr(owner, name, None) not in (None, getattr(plain, name))
            and getattr(getattr(owner, name), "__func__", None) is not getattr(plain, name)
            for name in events
        ):
            return True
    return False


def runs_python(model, arguments):
    """Whether other Python of the user's runs between batches: data, losses, metrics.

    Args:
        model: `keras.Model`.
        arguments: dict, those of its `fit`, `evaluate` or `predict`.
    """
    data = [arguments.get("x"), *_parts(arguments.get("validation_data"))]
    if any(map(is_fetched_by_python, data)):
        return True
    if any(keras_models.is_overridden(model, f"compute_{n}") for n in ("loss", "metrics")):
        return True
    losses = keras.tree.flatten(keras_losses.compiled_loss(model)[0])
    return any(map(_is_users, [*losses, *keras_metrics.metrics_given(model)]))


def is_fetched_by_python(data):
    """Whether Python that may be the user's makes each batch, in this process."""
    if type(data).__module__.startswith("keras_dawn."):
        return False
    if isinstance(data, DataLoader):
        return not data.num_workers and type(data.dataset) is not TensorDataset
    return isinstance(data, (types.GeneratorType, keras.utils.PyDataset))


def _parts(data):
    return data if type(data) is tuple else [data]


def _is_users(part):
    """Whether a loss or a metric, as `compile` takes it, runs a function or class of the user's."""
    if part is None or isinstance(part, str):
        return False
    kept = part
    if isinstance(part, keras.Metric):
        kept = keras_metrics.metric_function(part)
    elif isinstance(part, keras.Loss):
        kept = keras_losses.function_of_loss(part)
    kinds = [part if isinstance(part, types.FunctionType) else type(part)]
    kinds += [kept] if kept is not None else []
    return any(not (getattr(kind, "__module__", None) or "").startswith(_KNOWN) for kind in kinds)
