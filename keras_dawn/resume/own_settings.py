"""Settings and code of a training's parts, by names that are the same in another process."""

import functools
import types

from keras_dawn.foundation.code_digest import digest_of_code
from keras_dawn.foundation.held_code import (
    closure_of,
    defaults_of,
    functions_of,
    names_of,
    value_of,
)
from keras_dawn.foundation.hyperparameters import unwrap
from keras_dawn.foundation.keras_attributes import is_of_libraries, own_attributes
from keras_dawn.foundation.keras_callbacks import settings_of
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.keras_losses import compiled_loss
from keras_dawn.foundation.keras_metrics import metrics_given
from keras_dawn.foundation.keras_optimizers import rate_is_called, schedule_of
from keras_dawn.foundation.model_state import optimizers_of
from keras_dawn.foundation.users_code import is_users_class, is_users_function
from keras_dawn.resume.names import free_name, name_of_part, unnumbered
from keras_dawn.resume.own_objects import is_users_object, parts_of
from keras_dawn.resume.same_callbacks import is_given
from keras_dawn.resume.setting_words import CODE, words_of
from keras_dawn.schedules.parameter_schedule import ParameterSchedule

import keras

_DEPTH = 4  # objects within objects
_MOST = 300  # objects that are looked into for one part


def describe_parts(model, callbacks):
    """Settings and digests of code of callbacks, model, layers, losses, metrics and optimizers.

    Of callbacks, settings are the attributes that are called as arguments of `__init__` are; of
    the others, those that classes of the user's set; of functions, the plain values in their
    closures, their defaults, and those that they look up in their module. Of the user's functions
    and classes, and of those that these use, there is a digest of the code.

    Args:
        model: compiled `keras.Model`, as its training begins.
        callbacks: dict of them by name.

    Returns:
        dict of words, by names such as `"EarlyStopping.patience"`, `"loss mine.weight"`, and of
        code `"class Net"`, `"loss mine"`.
    """
    look = _Look()
    for name, callback in callbacks.items():
        # Of a schedule `described_settings` has the curves.
        if is_given(callback) and not isinstance(callback, ParameterSchedule):
            look.take(callback, name)
    look.take(model, "model")
    layers, taken = list(all_layers(model))[1:], set()
    for kind, parts in (
        ("layer", layers),
        ("loss", parts_of(compiled_loss(model)[0])),
        ("metric", metrics_given(model)),
        ("optimizer", list(map(unwrap, optimizers_of(model)))),
    ):
        for part in parts:
            taken.add(name := free_name(unnumbered(name_of_part(kind, part)), taken))
            if not isinstance(part, str):  # the name of one of Keras's
                look.take(part, name)
            if kind == "layer" and is_of_libraries(type(part)):
                look.take_users(vars(part), name)
            if kind == "optimizer" and rate_is_called(part):
                look.take(schedule_of(part), f"{name}.learning_rate")
    return look.end()


class _Look:
    """Takes settings in, by the names of the ways to them."""

    def __init__(self):
        self._words, self._seen = {}, set()
        self._used = {}  # classes and functions of the user's that were met, by their names

    def take(self, value, path):
        """A value, and what it holds."""
        self._seen = set()
        self._visit(value, path, 0)

    def take_class(self, kind):
        """A class, and those of the user's that it is made from."""
        for base in kind.__mro__:
            if is_users_class(base):
                self._used.setdefault(f"class {base.__name__}", base)

    def take_users(self, attributes, path):
        """Functions and objects of the user's in a layer of Keras's: activation, regularizer."""
        for name, value in sorted(attributes.items()):
            function = isinstance(value, types.FunctionType) and is_users_function(value)
            if function or is_users_object(value):
                self.take(value, f"{path}.{name}")

    def end(self):
        """All words, with those of what was used on the way, which has names of its own."""
        done = set()
        while self._used:
            name, part = self._used.popitem()
            if name not in done:
                done.add(name)
                self._seen = set()
                self._take_code(part, name, 1)
        return self._words

    def _visit(self, value, path, depth):
        if (words := words_of(value)) is not None:
            self._words.setdefault(path, words)
        elif depth <= _DEPTH and len(self._seen) <= _MOST and id(value) not in self._seen:
            self._seen.add(id(value))
            self._look_into(value, path, depth + 1)

    def _look_into(self, value, path, depth):
        if isinstance(value, types.MethodType):
            value = value.__func__
        if isinstance(value, type):
            self.take_class(value)
        elif isinstance(value, types.FunctionType):
            if is_users_function(value):
                self._take_code(value, path, depth)
            else:
                self._words.setdefault(path, value.__qualname__)
        elif isinstance(value, functools.partial):
            self._visit(value.func, path, depth)
            for name, part in [*enumerate(value.args), *value.keywords.items()]:
                self._visit(part, f"{path}.{name}", depth)
        elif isinstance(value, (list, tuple, dict)):
            for number, part in enumerate(parts_of(value)):
                self._visit(part, f"{path}-{number + 1}", depth)
        elif is_users_object(value) or isinstance(value, keras.callbacks.Callback):
            self.take_class(type(value))
            its = settings_of if isinstance(value, keras.callbacks.Callback) else own_attributes
            for name, part in its(value).items():
                self._visit(part, f"{path}.{name}", depth)

    def _take_code(self, part, path, depth):
        """A function or a class, with what is in its closure and its module."""
        self._words.setdefault(path, CODE + digest_of_code(part))
        functions = functions_of(part) if isinstance(part, type) else [part]
        own = vars(part) if isinstance(part, type) else {}
        for name, value in own.items():
            if not name.startswith("__") and (words := words_of(value)) is not None:
                self._words.setdefault(f"{path}.{name}", words)
        for function in functions:
            for name in names_of(function):
                self._take_name(value_of(function, name), f"{path}.{name}")
            for name, value in (closure_of(function) | defaults_of(function)).items():
                self._visit(value, f"{path}.{name}", depth)

    def _take_name(self, value, path):
        """What a function looks up in its module."""
        if isinstance(value, type):
            self.take_class(value)
        elif isinstance(value, types.FunctionType):
            if is_users_function(value):
                self._used.setdefault(f"function {value.__qualname__}", value)
        elif (words := words_of(value)) is not None:
            self._words.setdefault(path, words)
