"""Reads the bytecode of Python that is to combine layers and `keras.ops`."""

import dis
import functools
import inspect
import types

from keras_dawn.foundation import keras_layers
from keras_dawn.foundation.frozen import frozen
from keras_dawn.native.lowering import bytecode
from keras_dawn.native.lowering.comparisons import Comparisons
from keras_dawn.native.lowering.harmless import (
    OF_CONTAINERS,
    OF_NUMBERS,
    OF_TENSORS,
    ImpureError,
    check_constant,
    is_harmless_builtin,
    is_harmless_function,
    makes_a_layer,
)
from keras_dawn.native.lowering.own_attributes import read_attribute
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
        self.notes_losses = notes_losses
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
            read_attribute(self, chain)
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

    def called(self, name, function):
        """Reads a function that is called, unless it is known."""
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
            self.called(name, value)
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
            self.called(name, value)
        else:
            check_constant(name, value)


# Where Keras has methods by which a layer changes: weights, losses, states.
_MACHINERY = ("keras.src.layers.layer", "keras.src.ops.operation", "keras.src.backend.torch.layer")
