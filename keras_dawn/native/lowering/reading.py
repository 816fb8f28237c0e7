"""Reads the bytecode of Python that is to combine layers and `keras.ops`."""

import dis
import functools
import inspect
import types

from keras_dawn.foundation import keras_layers, keras_properties
from keras_dawn.foundation.frozen import frozen
from keras_dawn.native.lowering import bytecode
from keras_dawn.native.lowering.comparisons import Comparisons
from keras_dawn.native.lowering.harmless import (
    OF_CONTAINERS,
    OF_NUMBERS,
    OF_TENSORS,
    ImpureError,
    check_constant,
    check_lookup,
    check_value,
    is_harmless_builtin,
    is_harmless_function,
    makes_a_layer,
    property_of,
)
from keras_dawn.native.lowering.python_names import PythonNames
from keras_dawn.native.lowering.special_builtins import SPECIAL, read_special
from keras_dawn.native.lowering.watched import changes, spells, writes

import keras


@functools.lru_cache(maxsize=1000)
def _instructions(code):
    return [one for one in dis.get_instructions(code) if one.opname not in bytecode.NOTHING]


class Reading:
    """Reads the bytecode of one layer's `call` and of the functions that it calls.

    Args:
        layer: Keras layer, or `None` for a function.
        reads: `Reads`.
        doubts: dict, as a `Watch` takes it; it is filled.
        notes_losses: bool, whether what `add_loss` is called with is noted.

    Attributes:
        reads_masks: bool, whether it may read or set masks of tensors.
        reached: list of the layers that are named, those further inside too (`self.block.dense`).
    """

    def __init__(self, layer, reads, doubts, notes_losses=False):
        self._notes_losses = notes_losses
        self.layer, self.reads, self.doubts = layer, reads, doubts
        self.python = PythonNames(reads)
        self._seen = set()
        self._comparisons = Comparisons()
        self.reads_masks = False
        self.reached = []

    def function(self, function, is_method=True):
        if (id(self.layer), function) in self._seen:
            return
        self._seen.add((id(self.layer), function))
        self.reads.note(function, "__code__", function.__code__)
        self.reads.note(function, "__defaults__", function.__defaults__)
        self.reads.note(function, "__kwdefaults__", function.__kwdefaults__)
        for default in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            check_constant("a default", default)
        code = function.__code__
        owner = code.co_varnames[0] if is_method and code.co_argcount else None
        self._code(code, function, owner)

    def masks(self, layer):
        """Reads the `compute_mask` of a layer's class."""
        kind, outer = keras_layers.class_of(layer), self.layer
        self.reads.note(kind, "compute_mask", kind.compute_mask)
        if not isinstance(kind.compute_mask, types.FunctionType) or "compute_mask" in vars(layer):
            raise ImpureError("a `compute_mask` that is no method of its class")
        self.layer = layer
        try:
            self.function(kind.compute_mask)
        finally:
            self.layer = outer

    def judge_comparisons(self, sizes_are_open):
        """Sizes that are not known, and dtypes, compare as others than those of real tensors."""
        for code, offset, reason in self._comparisons.doubts(sizes_are_open):
            self.doubt(code, offset, reason)

    def doubt(self, code, offset, reason):
        """Notes that an instruction is doubtful, unless it is already."""
        self.doubts.setdefault(code, {}).setdefault(offset, reason)

    def _code(self, code, function, owner):
        # A generator expression runs where it is used up, within the call that is noted.
        expression = code.co_name == "<genexpr>"
        if code.co_flags & inspect.CO_GENERATOR and not expression:
            raise ImpureError("a generator")
        if code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
            raise ImpureError("a generator")
        for constant in code.co_consts:
            if isinstance(constant, types.CodeType):
                # A name of its own is another one than the layer's around it.
                self._code(constant, function, None if owner in constant.co_varnames else owner)
        instructions = _instructions(code)
        if any(one.opname in bytecode.CATCHES for one in instructions):
            raise ImpureError("it catches exceptions")
        self._comparisons.note_names(instructions)
        number = 0
        while number < len(instructions):
            try:
                number = self._instruction(instructions, number, code, function, owner)
            except ImpureError as error:
                self.doubt(code, instructions[number].offset, str(error))
                number += 1

    def _instruction(self, instructions, number, code, function, owner):
        """Looks at one instruction, and at the attributes that are taken of what it loads."""
        one = instructions[number]
        name = one.opname
        if name not in bytecode.HARMLESS and not name.startswith(bytecode.JUMPS):
            raise ImpureError(f"{name} in its Python")
        if name == "STORE_SUBSCR":
            self.doubt(code, one.offset, writes)
        if name == "BINARY_OP" and one.argrepr.endswith("="):
            target = bytecode.stored(instructions[number + 1])
            if not target:
                raise ImpureError(f"{one.argrepr}, which changes a tensor in place")
            self.doubt(code, one.offset, changes(target[0]))
        self._comparisons.note(instructions, number, code, owner)
        if name == "IS_OP" and not bytecode.follows_constant(instructions, number):
            raise ImpureError("whether two objects are one")  # tensors may be, their symbols not
        loaded = bytecode.loaded(one)
        if owner is not None and owner in loaded[:-1]:
            raise ImpureError(bytecode.HANDED_ON)
        if owner is not None and owner in bytecode.stored(one):
            raise ImpureError("it renames itself")
        chain, after = bytecode.attributes(instructions, number + 1)
        if chain:
            self._comparisons.note(instructions, after - 1, code, owner)
        if chain and chain[-1] in ("shape", "dtype"):
            self._comparisons.note_taken(instructions[after - 1], instructions[after], code)
            if instructions[after].opname in bytecode.FORMATS:
                # Torch writes those of real tensors in another way.
                self.doubt(code, instructions[after].offset, f"a {chain[-1]} in a text")
        if owner is not None and loaded and loaded[-1] == owner:
            if not chain:
                raise ImpureError(bytecode.use_of_whole(instructions[number + 1 : number + 3]))
            self._attribute(self.layer, chain)
            return after
        written = bytecode.written_out(instructions, number)
        if written and (name != "LOAD_GLOBAL" or self._is_str(one.argval, function)):
            self.doubt(code, one.offset, spells(written))
            return number + 2
        if name == "LOAD_GLOBAL" and one.argval in SPECIAL:
            return read_special(self, instructions, number, code, function, owner)
        if name == "LOAD_GLOBAL":
            self._global(one.argval, chain, function)
            return after
        if name.endswith("_DEREF") and one.argval in function.__code__.co_freevars:
            if name != "LOAD_DEREF":
                raise ImpureError(f"it sets {one.argval} of the function around it")
            self._closed_over(one.argval, function)
        if name in bytecode.TAKES and one.argval not in OF_TENSORS | OF_CONTAINERS | OF_NUMBERS:
            raise ImpureError(f"the attribute {one.argval}")
        return number + 1

    def _attribute(self, owner, chain):
        """`self.a.b`: what is read is noted; it has to be a layer, a constant or a function."""
        value = owner
        for place, name in enumerate(chain):
            if name in OF_CONTAINERS and place and isinstance(value, (list, tuple, dict)):
                if name in ("append", "extend"):
                    raise ImpureError(f"{'.'.join(chain)} changes the layer")
                frozen = place == 1 and chain[0] in vars(self.layer)
                for part in value.values() if isinstance(value, dict) else value:
                    check_value(".".join(chain[:place]), part, self._called, frozen)
                    self._reach(part)
                return
            if place and isinstance(value, keras.Layer) and name in ("call", "__call__"):
                raise ImpureError(f"{'.'.join(chain)}, past the layer's own call")
            own = None if place else property_of(value, name)
            if own is not None and set(chain[1:]) <= OF_TENSORS:
                self.reads.note(keras_layers.class_of(value), name, own)
                self.function(own.fget)  # what it returns follows from what it reads
                return
            check_lookup(value, name)
            holder, value = value, self.reads.attribute(value, name)
            if isinstance(value, types.MethodType) and value.__self__ is self.layer:
                if place < len(chain) - 1:
                    raise ImpureError(f"{'.'.join(chain)}, an attribute of a method")
                if self._notes_losses and value.__func__ is keras.Layer.add_loss:
                    return
                self.reads.note(type(self.layer), name, value.__func__)
                self.method(name, value.__func__)
                return
            if name == "compute_mask" and place and isinstance(holder, keras.Layer):
                self.masks(holder)
                return
            own = not place and keras_properties.holds(holder, name, value)
            if own and keras_layers.is_of_weights(value):  # symbolic while the calls are noted
                if not set(chain[1:]) <= OF_TENSORS:
                    raise ImpureError(f"{'.'.join(chain)}, which symbolic tensors have others of")
                return
            if isinstance(value, types.FunctionType) and place == len(chain) - 1:
                # A static method, or a function that the layer was made with.
                self._called(".".join(chain), value)
                return
        self._reach(value)
        frozen = len(chain) == 1 and chain[0] in vars(self.layer)
        check_value(".".join(chain), value, self._called, frozen)

    def _reach(self, value):
        parts = keras.tree.flatten(value)
        self.reached += [part for part in parts if isinstance(part, keras.Layer)]

    def _called(self, name, function):
        self.reads_masks |= function.__name__.endswith("_keras_mask")
        self._comparisons.note_function(name, function)
        if makes_a_layer(function):
            self.python.note_policy()
        elif not is_harmless_function(name, function):
            self.function(function, is_method=False)

    def _global(self, name, chain, function):
        value, name = self.python.of_module(function, name, chain)
        chain = chain[name.count(".") :]
        if is_harmless_builtin(value) and not chain:
            return
        if type(value) in (bool, int, float) and set(chain) <= OF_NUMBERS:
            return
        if isinstance(value, (list, dict, set)):
            check_constant(name, value)  # which says what it is
        value, name = self.python.of_object(value, name, chain)
        if isinstance(value, types.FunctionType):
            self._called(name, value)
            return
        check_constant(name, value)

    def _is_str(self, name, function):
        return self.python.of_module(function, name)[0] is str

    def check_setting(self, chain, kinds):
        """Raises `ImpureError` unless `self.a.b` is a layer, a constant or a list of its own.

        Lists and dicts are of other classes while calls are noted: it has to be of the same `kinds`
        then.
        """
        value, name = self.python.of_object(self.layer, "self", chain)
        if not isinstance(value, (keras.Layer, list, tuple, dict)):
            check_constant(name, value)
        elif isinstance(value, kinds) != isinstance(frozen(value), kinds):
            raise ImpureError(f"whether {name} is one of Keras's lists or dicts")

    def method(self, name, function):
        """Reads a method that is called of the layer."""
        if function.__module__ in _MACHINERY:
            raise ImpureError(f"Keras's method {name}")
        self.function(function)

    def _closed_over(self, name, function):
        value = self.python.of_function_around(function, name)
        if isinstance(value, types.FunctionType):
            self._called(name, value)
        else:
            check_constant(name, value)


# Where Keras has methods by which a layer changes: weights, losses, states.
_MACHINERY = ("keras.src.layers.layer", "keras.src.ops.operation", "keras.src.backend.torch.layer")
