"""What of a `fit` has a state that its checkpoints must hold: callbacks, and the user's objects."""

from keras_dawn.foundation.held_states import has_state
from keras_dawn.foundation.keras_attributes import is_of_libraries
from keras_dawn.foundation.keras_callbacks import names_in_keras
from keras_dawn.foundation.plain_state import to_plain
from keras_dawn.resume import keras_states
from keras_dawn.resume.model_attributes import add_attributes, saved_with
from keras_dawn.resume.names import free_name
from keras_dawn.resume.own_objects import OwnObjects, is_users_object
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


class SavedStates:
    """Finds what has `state_dict()` and `load_state_dict(state)`, or has it made for it.

    Args:
        model: compiled `keras.Model`, when its training has begun.
        callbacks: list of callbacks whose `on_train_begin` has been called.
        elsewhere: list of objects that are saved elsewhere, such as the data.

    Attributes:
        parts: dict, by name. A callback goes under its name in `names`; of Keras's own, those that
            find something out are among them; of others that have no state to give, their
            attributes (`PlainAttributes`), and what these hold (`OwnObjects`).
        names: dict from names to callbacks: a callback goes under its class's name; further ones
            of a class get a number, in their order.
    """

    def __init__(self, model, callbacks, elsewhere):
        self.names = _named(callbacks)
        known = [*saved_with(model), *callbacks, *elsewhere]
        self._objects = OwnObjects(model, known, self._add)
        self.parts = self._objects.found
        for name, callback in self.names.items():
            self._add(callback, name)
        add_attributes(model, self._objects)

    def tell(self, what):
        """Tells what there is no state for that a training begins, is left when saved, or ends.

        Args:
            what: `"begin"`, `"leave"` or `"end"`.
        """
        for name in implicit(self.parts):
            getattr(self.parts[name], what)()

    def _add(self, callback, name):
        tells = has_state(callback)
        if tells:
            self.parts[name] = callback
        elif keras_states.has_state(callback):
            self.parts[name] = keras_states.KerasState(callback)
        attributes = PlainAttributes(callback, names_in_keras(callback))
        if is_of_libraries(type(callback)):
            for attribute, part in [] if tells else vars(callback).items():  # such as a schedule
                if callable(part) or is_users_object(part):
                    self._objects.visit(part, f"{name}.{attribute}", attributes)
        elif not (tells and _tells_itself(callback)):
            self._objects.add(callback, name, attributes)


def check_states(parts):
    """Finds out when a training begins whether checkpoints can hold the states.

    Args:
        parts: dict of what has `state_dict` and `load_state_dict`, by name.

    Raises:
        TypeError: a state that holds what is no data.
    """
    for name, part in parts.items():
        kinds = []
        for give in ("state_dict", "rank_state_dict"):
            if not hasattr(part, give):
                continue
            try:
                state = getattr(part, give)()
            except Exception:  # there is none before the first step: a checkpoint will ask again
                continue
            kinds.append(type(to_plain(state, name)))
        if len(kinds) > 1 and kinds != [dict, dict]:
            raise TypeError(
                f"`state_dict` and `rank_state_dict` of {name} must return dicts, of which one "
                f"is made, got {' and '.join(kind.__name__ for kind in kinds)}."
            )


def implicit(parts):
    """Names of the parts that a checkpoint need not have."""
    return {name for name, part in parts.items() if isinstance(part, PlainAttributes)}


def _named(callbacks):
    found = {}
    for callback in callbacks:
        found[free_name(type(callback).__name__, found)] = callback
    return found


def _tells_itself(callback):
    """Whether the user has written a callback's state, and not a class of a library's below it."""
    kind = next((kind for kind in type(callback).__mro__ if "state_dict" in vars(kind)), None)
    return kind is None or not is_of_libraries(kind)
