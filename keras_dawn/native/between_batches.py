"""What of the user's runs between two steps, and may change the model there."""

import keras

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
        if any(name in vars(callback) for name in events):
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
