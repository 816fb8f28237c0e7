"""`getattr`, `isinstance` and `super` in Python that is read: what they look at is looked at."""

import functools

from keras_dawn.native.lowering import bytecode
from keras_dawn.native.lowering.harmless import ImpureError, check_constant
from keras_dawn.native.lowering.watched import asks_kind, names

import keras


def read_special(reading, instructions, number, code, function, owner):
    """Reads a call of one of them, of which the first instruction is `instructions[number]`.

    Args:
        reading: `Reading`.
        instructions: list, of the function's code object `code`, or of one inside it.
        number: int.
        function: the function that is read.
        owner: str, the name of `self` in it, or `None`.

    Returns:
        The number of the instruction to go on with.

    Raises:
        ImpureError: what it does is not known from here.
    """
    name = instructions[number].argval
    if reading.python.of_module(function, name)[0] is not SPECIAL[name]:
        raise ImpureError(f"{name}, which is not Python's")
    read = {"getattr": _getattr, "isinstance": _isinstance, "super": _super}[name]
    return read(reading, instructions, number, code, function, owner)


SPECIAL = {"getattr": getattr, "isinstance": isinstance, "super": super}


def _super(reading, instructions, number, code, function, owner):
    """`super().name(…)`: what the next class of the layer's has is read in its place."""
    found = bytecode.of_super(instructions, number, owner)
    # Without arguments it takes the first one of the function that it stands in.
    if found is None or (found[0] is None and code.co_varnames[:1] != (owner,)):
        raise ImpureError("super() of something else than a method")
    kind, name, after = found
    reading.method(name, reading.python.after_class(reading.layer, function, kind, name))
    return after


def _getattr(reading, instructions, number, code, function, owner):
    """`getattr(self, text)`, or `getattr(GLOBAL, "name", constant)`: a package's setting."""
    if owner is not None and owner in bytecode.loaded(instructions[number + 1]):
        parts, end = bytecode.text(instructions, number + 2) or (None, None)
        if parts is None or not bytecode.is_call(instructions[end]):
            raise ImpureError("getattr of the layer by more than texts and local names")
        check = functools.partial(reading.python.wrong_attribute, reading.layer)
        reading.doubt(code, instructions[number].offset, names(parts, check))
        return end
    holder, name, default = instructions[number + 1 : number + 4]
    if holder.opname != "LOAD_GLOBAL" or {name.opname, default.opname} != {"LOAD_CONST"}:
        raise ImpureError("getattr of more than the layer, or a setting with a constant default")
    owner, dotted = reading.python.of_module(function, holder.argval)
    value, dotted = reading.python.of_object(owner, dotted, [name.argval])
    check_constant(dotted, value)
    return number + 4


def _isinstance(reading, instructions, number, code, function, owner):
    """`isinstance(name, KIND)` of classes that no tensor is of, and so no symbol.

    Of a layer's attribute that is no weight, the class may be any.
    """
    asked, chain, kinds, end = bytecode.asked_kinds(instructions, number + 1) or (None,) * 4
    if asked is None or (chain and asked != owner):
        raise ImpureError("isinstance of more than a name or an attribute of the layer")
    kinds = [reading.python.of_module(function, *kind)[0] for kind in kinds]
    if chain:
        reading.check_setting(chain, tuple(kinds))
        return end
    if not all(map(_is_known, kinds)):
        kinds = ", ".join(kind.__name__ for kind in _KINDS)
        raise ImpureError(f"isinstance of more than a local name and layers, {kinds}")
    either = (list in kinds) != (tuple in kinds)
    if either or float in kinds:
        reading.doubt(code, instructions[number].offset, asks_kind(asked, either, float in kinds))
    return end


def _is_known(kind):
    """Whether a class is one of Python's, or of layers, which says as all do what is of it."""
    plain = isinstance(kind, type) and type(kind).__instancecheck__ is type.__instancecheck__
    return any(kind is each for each in _KINDS) or (plain and issubclass(kind, keras.Layer))


_KINDS = (bool, int, float, list, tuple, dict)
