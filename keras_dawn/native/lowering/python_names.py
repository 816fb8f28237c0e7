"""What names in Python of the user's stand for; whatever is looked up is noted."""

import builtins
import types

from keras_dawn.foundation import keras_layers
from keras_dawn.native.lowering.harmless import (
    ImpureError,
    check_constant,
    check_held,
    check_lookup,
)

import keras


class PythonNames:
    """Looks names up as Python does where a function runs.

    Args:
        reads: `Reads`, which notes them with what they stand for.
    """

    def __init__(self, reads):
        self._reads = reads

    def of_module(self, function, name, chain=()):
        """`(value, its name)` of a global or a builtin, or of what a module named so has."""
        value = function.__globals__.get(name, getattr(builtins, name, None))
        self._reads.note(_Globals(function), name, value)
        for attribute in chain:
            if not isinstance(value, types.ModuleType):
                break
            value, name = self._reads.attribute(value, attribute), f"{name}.{attribute}"
        return value, name

    def of_object(self, value, name, chain):
        """`(value, its name)` of what an object has by the attributes in `chain`.

        Raises:
            ImpureError: to look it up runs Python.
        """
        for attribute in chain:
            check_lookup(value, attribute)
            value, name = self._reads.attribute(value, attribute), f"{name}.{attribute}"
        return value, name

    def of_function_around(self, function, name):
        """The value that a function shares with the one that it was made in."""
        cell = function.__closure__[function.__code__.co_freevars.index(name)]
        self._reads.note(cell, "cell_contents", cell.cell_contents)
        return cell.cell_contents

    def after_class(self, layer, function, kind, name):
        """The method that `super().name` is of a layer, in a method of a class of its own.

        Args:
            layer: Keras layer.
            function: the method, or a function inside it.
            kind: str, the class by its name where `super` is called with one, else `None`.
            name: str.

        Raises:
            ImpureError: it is no method.
        """
        if kind is None:
            kind = self.of_function_around(function, "__class__")
        else:
            kind, _ = self.of_module(function, kind)
        of_layer = keras_layers.class_of(layer)
        order = of_layer.__mro__
        if kind not in order:
            raise ImpureError(f"super() of {kind!r}, which the layer is not of")
        base = next((each for each in order[order.index(kind) + 1 :] if name in vars(each)), None)
        found = base and vars(base)[name]
        if not isinstance(found, types.FunctionType):
            raise ImpureError(f"super().{name}, which is no method")
        # Looked for anew each time: a class between may be given such a method later.
        self._reads.note(super(kind, of_layer), name, found)
        return found

    def note_policy(self):
        """Notes the dtype policy that layers get which are made now."""
        self._reads.note(_GLOBAL_POLICY, "now", _GLOBAL_POLICY.now)

    def wrong_attribute(self, layer, name):
        """What is wrong with an attribute that is named while calls are noted, or `None`.

        It has to be a layer or a constant: the layer's weights are symbolic then.
        """
        try:
            check_lookup(layer, name)
            value = getattr(layer, name, None)
            if isinstance(value, keras.Layer):
                check_held(layer, [value])
            else:
                check_constant(name, value)
        except ImpureError as error:
            return str(error)
        self._reads.attribute(layer, name)
        return None


class _Globals:
    """A function's global names, as attributes."""

    def __init__(self, function):
        self.__dict__ = function.__globals__  # where they are found without Python of ours

    def __getattr__(self, name):
        return getattr(builtins, name)


class _GlobalPolicy:
    @property
    def now(self):
        return keras.config.dtype_policy()


_GLOBAL_POLICY = _GlobalPolicy()
