"""Whether a layer's Python only combines layers and `keras.ops`, read from its bytecode.

Such a `call` does the same at every step, so the calls that it makes can be noted once. What it
reads on the way (attributes of the layer, globals) is noted with its value, since a change makes
another call of it. Whatever is not known to be harmless is a reason to leave the layer alone.
"""

import builtins
import dis
import inspect
import types

from keras_dawn.foundation import keras_layer_call, keras_layers
from keras_dawn.native.lowering import bytecode

import keras

_BUILTINS = (len, range, zip, enumerate, int, float, bool, str, list, tuple, dict, reversed, abs,
             sum, ValueError, TypeError)  # fmt: skip
_OF_TENSORS = {"shape", "ndim", "dtype"}
_OF_CONTAINERS = {"append", "extend", "items", "keys", "values"}
_CONSTANTS = (bool, int, float, str, bytes, type(None), type(...))
_KERAS_FUNCTIONS = ("keras.src.ops.", "keras.src.activations.")
_OF_FUNCTIONS = (
    "associative_scan", "cond", "convert_to_numpy", "custom_gradient", "fori_loop", "map", "scan",
    "shuffle", "switch", "vectorized_map", "while_loop",
)  # fmt: skip


class ImpureError(ValueError):
    """Python that may do more than combine layers and `keras.ops`; the message says where."""


def check_pure(layer, reads):
    """Raises `ImpureError` unless a layer's `call`, and those inside it, are known to be pure.

    Args:
        layer: built Keras layer with a `call` of its own.
        reads: `Reads`, which notes what the Python reads.
    """
    for each in keras_layers.all_layers(layer):
        kind = keras_layers.class_of(each)
        if kind is keras.layers.Lambda or not isinstance(each, keras.Layer):
            raise ImpureError(f"a {kind.__name__} inside it")
        if kind.__module__.startswith("keras.src."):
            continue
        if not keras_layer_call.is_ordinary(each) or not keras_layers.is_plain_call(each):
            raise ImpureError(f"{kind.__name__} is called in a way of its own")
        reads.note(kind, "call", kind.call)
        if not isinstance(kind.call, types.FunctionType):
            raise ImpureError(f"{kind.__name__}.call is no function")
        _Reading(each, reads).function(kind.call)


class _Reading:
    """Reads the bytecode of one layer's `call` and of the functions that it calls."""

    def __init__(self, layer, reads):
        self.layer, self.reads = layer, reads
        self._seen = set()

    def function(self, function, is_method=True):
        if function in self._seen:
            return
        self._seen.add(function)
        self.reads.note(function, "__code__", function.__code__)
        self.reads.note(function, "__defaults__", function.__defaults__)
        self.reads.note(function, "__kwdefaults__", function.__kwdefaults__)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self._constant("a default", default)
        code = function.__code__
        owner = code.co_varnames[0] if is_method and code.co_argcount else None
        self._code(code, function, owner)

    def _code(self, code, function, owner):
        if code.co_flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE):
            raise ImpureError("a generator")
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant, function, owner)
        instructions = [
            one for one in dis.get_instructions(code) if one.opname not in bytecode.NOTHING
        ]
        names = {i.argval for i in instructions if i.opname in bytecode.TAKES}
        number = 0
        while number < len(instructions):
            number = self._instruction(instructions, number, function, owner, names)

    def _instruction(self, instructions, number, function, owner, names):
        """Looks at one instruction, and at the attributes that are taken of what it loads."""
        one = instructions[number]
        name = one.opname
        if name not in bytecode.HARMLESS and not name.startswith(bytecode.JUMPS):
            raise ImpureError(f"{name} in its Python")
        if name == "BINARY_OP" and one.argrepr.endswith("="):
            raise ImpureError(f"{one.argrepr}, which changes a tensor in place")
        if name in ("COMPARE_OP", "CONTAINS_OP") and names & {"shape", "dtype"}:
            raise ImpureError("a comparison beside shapes or dtypes")
        loaded = bytecode.loaded(one)
        if owner is not None and owner in loaded[:-1]:
            raise ImpureError("it hands itself on")
        if owner is not None and owner in bytecode.stored(one):
            raise ImpureError("it renames itself")
        chain, after = bytecode.attributes(instructions, number + 1)
        if owner is not None and loaded and loaded[-1] == owner:
            if not chain:
                raise ImpureError("it hands itself on")
            self._attribute(self.layer, chain, names)
            return after
        if name == "LOAD_GLOBAL":
            self._global(one.argval, chain, function)
            return after
        if name == "LOAD_DEREF" and one.argval in function.__code__.co_freevars:
            self._closed_over(one.argval, function)
        if name in bytecode.TAKES and one.argval not in _OF_TENSORS | _OF_CONTAINERS:
            raise ImpureError(f"the attribute {one.argval}")
        return number + 1

    def _attribute(self, owner, chain, names):
        """`self.a.b`: what is read is noted; it has to be a layer, a constant or a function."""
        value = owner
        for place, name in enumerate(chain):
            if name in _OF_CONTAINERS and place and isinstance(value, (list, tuple, dict)):
                if name in ("append", "extend"):
                    raise ImpureError(f"{'.'.join(chain)} changes the layer")
                return
            if place and isinstance(value, keras.Layer) and name in ("call", "__call__"):
                raise ImpureError(f"{'.'.join(chain)}, past the layer's own call")
            _check_attribute(value, name)
            holder, value = value, getattr(value, name, None)
            if isinstance(value, types.MethodType) and value.__self__ is self.layer:
                if value.__func__.__module__.startswith("keras.src."):
                    raise ImpureError(f"Keras's method {name}")
                self.reads.note(type(self.layer), name, value.__func__)
                self.function(value.__func__)
                return
            self.reads.note(holder, name, value)
        self._usable(".".join(chain), value, names)

    def _usable(self, name, value, names):
        if isinstance(value, keras.Layer):
            return
        if isinstance(value, (list, tuple, dict)):
            if not isinstance(value, tuple) and names & {"append", "extend"}:
                raise ImpureError(f"{name} may be changed")
            for part in value.values() if isinstance(value, dict) else value:
                self._usable(name, part, names)
            return
        if isinstance(value, types.FunctionType):
            self._called(name, value)
            return
        self._constant(name, value)

    def _constant(self, name, value):
        if isinstance(value, tuple):
            for part in value:
                self._constant(name, part)
        elif not isinstance(value, _CONSTANTS):
            raise ImpureError(f"{name} is a {type(value).__name__}")

    def _called(self, name, function):
        module = function.__module__ or ""
        if module.startswith(_KERAS_FUNCTIONS):
            if function.__name__ in _OF_FUNCTIONS:
                raise ImpureError(f"keras.ops.{function.__name__}")
            return
        if module.startswith("keras"):
            raise ImpureError(f"Keras's {name}")
        self.function(function, is_method=False)

    def _global(self, name, chain, function):
        values = function.__globals__
        value = values.get(name, getattr(builtins, name, None))
        self.reads.note(_Names(function), name, value)
        for attribute in chain:
            if not isinstance(value, types.ModuleType):
                break
            holder, value = value, getattr(value, attribute, None)
            self.reads.note(holder, attribute, value)
        if any(value is one for one in _BUILTINS):
            return
        if isinstance(value, types.FunctionType):
            self._called(".".join((name, *chain)), value)
            return
        if isinstance(value, types.BuiltinFunctionType) and value.__module__ == "math":
            return
        self._constant(name, value)

    def _closed_over(self, name, function):
        cell = function.__closure__[function.__code__.co_freevars.index(name)]
        value = cell.cell_contents
        self.reads.note(cell, "cell_contents", value)
        if isinstance(value, types.FunctionType):
            self._called(name, value)
        else:
            self._constant(name, value)


def _check_attribute(owner, name):
    """Raises `ImpureError` where reading an attribute runs Python of the user's."""
    kind = keras_layers.class_of(owner)
    for lookup in ("__getattribute__", "__getattr__"):
        if isinstance(owner, keras.Layer) and getattr(kind, lookup) is not getattr(
            keras.Layer, lookup
        ):
            raise ImpureError(f"a {lookup} of its own")
    static = inspect.getattr_static(kind, name, None)
    if isinstance(static, property):
        if not (static.fget.__module__ or "").startswith("keras.src."):
            raise ImpureError(f"the property {name}")
    elif hasattr(type(static), "__get__") and not isinstance(static, types.FunctionType):
        raise ImpureError(f"the descriptor {name}")


class _Names:
    """A function's global names, as attributes."""

    def __init__(self, function):
        self._function = function

    def __getattr__(self, name):
        try:
            return self._function.__globals__[name]
        except KeyError:
            return getattr(builtins, name)
