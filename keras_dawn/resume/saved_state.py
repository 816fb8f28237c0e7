"""Which callbacks of a `fit` have a state that its checkpoints must hold."""

from keras_dawn.foundation.keras_callbacks import is_kerass, names_in_keras
from keras_dawn.resume import keras_states
from keras_dawn.resume.plain_attributes import PlainAttributes

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
    Of Keras's own, those that find something out are among them; of others that have no state
    to give, their attributes (`PlainAttributes`).

    Args:
        callbacks: list of callbacks whose `on_train_begin` has been called.
    """
    found = {}
    for callback in callbacks:
        name = type(callback).__name__
        if hasattr(callback, "state_dict") and hasattr(callback, "load_state_dict"):
            _add(found, name, callback)
            continue
        if keras_states.has_state(callback):
            _add(found, name, keras_states.KerasState(callback))
        if not (is_kerass(type(callback)) or type(callback).__module__.startswith("keras_dawn.")):
            attributes = PlainAttributes(callback, names_in_keras(callback))
            _add(found, f"attributes of {name}", attributes)
    return found


def _add(found, name, part):
    first, number = name, 2
    while name in found:
        name, number = f"{first}-{number}", number + 1
    found[name] = part


def implicit(parts):
    """Names of the parts that a checkpoint need not have."""
    return {name for name, part in parts.items() if isinstance(part, PlainAttributes)}
