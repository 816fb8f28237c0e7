"""Comparisons in Python that is noted, which may be of sizes or dtypes: symbols have others.

To look something up in a dict compares, too, and text that is made by `%` may be compared.
"""

import re

from keras_dawn.native.lowering import bytecode
from keras_dawn.native.lowering.watched import compares, keeps

import keras

# It casts what has another dtype than symbols say, and does the same either way.
_CASTS_OR_NOT = keras.layers.Embedding.call.__code__


class Comparisons:
    """Where one layer's Python compares, and where it takes sizes and dtypes."""

    def __init__(self):
        self._names = set()  # of all attributes that are taken
        self._found = []
        self._sizes_by_name = False
        self._lookups, self._texts = [], []
        self._taken = []  # where sizes and dtypes are taken, and the next instruction

    def note_names(self, instructions):
        """Notes the attributes that the instructions of a function take."""
        self._names |= {one.argval for one in instructions if one.opname in bytecode.TAKES}

    def note_function(self, name, function):
        """Notes a function that is called if it gives sizes by a name that does not say so.

        As `shape(x)` does, or another name for `keras.ops.shape`: no attribute `shape` is taken.
        """
        if function is keras.ops.shape and not name.endswith(".shape"):
            self._sizes_by_name = True
            self._names.add("shape")

    def note(self, instructions, number, code, owner):
        """Notes one instruction if it compares what may be sizes or dtypes, or writes them out."""
        one = instructions[number]
        if one.opname == "BINARY_OP" and one.argrepr == "%" and any(map(_writes, code.co_consts)):
            self._texts.append((code, one.offset))
        looks_up = one.opname in bytecode.TAKES and one.argval == "get"
        if looks_up and not bytecode.is_constant(instructions[number + 1]):
            self._lookups.append((code, one.offset))
        if one.opname not in ("COMPARE_OP", "CONTAINS_OP") or code is _CASTS_OR_NOT:
            return
        if not bytecode.compares_settings(instructions, number, owner):
            self._found.append((code, one.offset, one.argval in ("<", "<=", ">", ">=")))

    def note_taken(self, one, after, code):
        """Notes an instruction that takes a size or a dtype, and the next one."""
        if code is not _CASTS_OR_NOT:
            self._taken.append((code, one, after))

    def doubts(self, sizes_are_open):
        """`(code object, offset, what is wrong)` of each that compares, or takes what is compared.

        Args:
            sizes_are_open: bool, whether sizes are not known.
        """
        names = self._names & ({"shape", "dtype"} if sizes_are_open else {"dtype"})
        for code, offset, orders in self._found if names else ():
            if "shape" in names and self._sizes_by_name:
                yield code, offset, "a comparison beside shapes"
            elif "shape" in names or not orders:  # dtypes have no order
                yield code, offset, compares
        for code, offset in self._lookups if names else ():
            yield code, offset, "a value that is looked up in a dict beside shapes or dtypes"
        for code, offset in self._texts if self._names & {"shape", "dtype"} else ():
            yield code, offset, "text beside shapes or dtypes"
        for code, one, after in self._taken:
            # Sizes may be anywhere; a dtype that a function is called with is not compared.
            if one.argval in names and (one.argval == "shape" or not bytecode.is_call(after)):
                yield code, one.offset, keeps


def _writes(constant):
    """Whether a constant is a text to which `%` may add more than whole numbers."""
    return isinstance(constant, str) and "%" in re.sub(r"%%|%0?[0-9]*[di]", "", constant)
