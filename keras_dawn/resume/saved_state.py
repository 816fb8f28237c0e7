"""Which callbacks of a `fit` have a state that its checkpoints must hold."""

from keras_dawn.resume import keras_states

import keras


def check_neighbours(callbacks):
    """Raises `ValueError` for callbacks that do the same work."""
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ValueError(
                "BackupAndRestore and ResumeTraining would both restore the training, the former "
                "without the order of the data and the states of callbacks. Leave it out."
            )


def with_states(callbacks):
    """What has `state_dict()` and `load_state_dict(state)`, by name: callbacks, or for them.

    A callback goes under its class's name; further ones of a class get a number, in their order.
    Of Keras's own, those that find something out are among them.
    """
    found = {}
    for callback in callbacks:
        part = callback
        if not (hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict")):
            if not keras_states.has_state(callback):
                continue
            part = keras_states.KerasState(callback)
        name, number = type(callback).__name__, 2
        while name in found:
            name, number = f"{type(callback).__name__}-{number}", number + 1
        found[name] = part
    return found
