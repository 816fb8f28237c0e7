"""The history of a `fit` as its checkpoints hold it."""

from keras_dawn.resume.attribute_values import decoded, encoded, is_data
from keras_dawn.resume.names import name_in_logs

import keras


def history_state(history):
    """What `put_history` takes, as plain data.

    In the history itself, numbers take the place of variables and of arrays of one, which would
    change with time.

    Args:
        history: `keras.callbacks.History`.

    Raises:
        TypeError: something in the logs that no checkpoint can hold.
    """
    for values in history.history.values():
        values[:] = map(_number, values)
    return {name: _encoded(name, values) for name, values in history.history.items()}


def put_history(history, epochs, state, names):
    """Puts a checkpoint's history into one of this process.

    Args:
        history: `keras.callbacks.History`.
        epochs: list of int.
        state: what `history_state` returned.
        names: dict, names in the logs now by those that they had (`other_logs`).
    """
    history.epoch = list(epochs)
    history.history = {
        name_in_logs(name, names): [decoded(value) for value in values]
        for name, values in state.items()
    }


def _number(value):
    value = value.value if isinstance(value, keras.Variable) else value
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _encoded(name, values):
    for value in values:
        if not is_data(value):
            raise TypeError(
                f"The logs hold a {type(value).__name__} as {name!r}, which no checkpoint can "
                "hold. Put numbers, strings or arrays into the logs of an epoch."
            )
    return [encoded(value) for value in values]
