"""Whether Python of the user's may change a tensor in place, by its bytecode.

What is found is doubtful only: `x += y` is one of numbers as well. What is never found is code of
installed packages that is called as a function, and names that are made at run time.
"""

import contextlib
import dis
import functools
import operator
import sys
import types

from keras_dawn.foundation import held_code, keras_layers
from keras_dawn.foundation.users_code import is_users_class
from keras_dawn.native.lowering import bytecode

import keras
import torch

# Packages whose code is known; functions of this one stand in the attributes of models.
_OTHERS = sys.stdlib_module_names | {"keras", "torch", "numpy", "keras_dawn"}
_MOST = 500  # functions that are read; where there are more, one may be such
_CONSTANTS = ("LOAD_CONST", "LOAD_SMALL_INT", "BUILD_LIST", "BUILD_TUPLE")
_OPERATORS = {
    name for name in dir(operator) if name.startswith("i") and f"__{name}__" in dir(operator)
}
_NAMES = _OPERATORS | {"__setitem__", "setitem"} | {f"__{name}__" for name in _OPERATORS}
_KEYWORDS = {"inplace", "out"}
_HARMLESS = {"requires_grad_", "retain_grad_"}


def may_change_in_place(layer):
    """Whether the Python of a layer, or what it holds and calls, may change a tensor in place.

    Layers inside it are not looked at.

    Args:
        layer: Keras layer or model.
    """
    modules = list(_torch_modules(layer))
    if any(getattr(module, "inplace", False) is True for module in modules):
        return True
    waiting = [pair for owner in (layer, *modules) for pair in _methods(owner)]
    for value in vars(layer).values():
        if held_code.is_code(value):
            waiting.append((value, None))
        elif is_users_class(type(value)) and not isinstance(value, torch.nn.Module):
            waiting += _methods(value)
    seen = set()
    while waiting:
        function, owner = waiting.pop()
        function = _plain(function)
        if not isinstance(function, types.FunctionType) or not _is_own(function):
            continue
        if function.__code__ in seen:
            continue
        seen.add(function.__code__)
        if _changes(function, owner) or len(seen) > _MOST:
            return True
        waiting += [(part, None) for part in _called_by(function)]
    return False


def _torch_modules(module):
    """The torch modules inside a layer that are no layers, at any depth."""
    for child in module.children():
        if not isinstance(child, keras.Layer):
            yield child
            yield from _torch_modules(child)


def _methods(owner):
    kind = keras_layers.class_of(owner) if isinstance(owner, keras.Layer) else type(owner)
    for base in kind.__mro__:
        if _is_own(base):
            for function in held_code.functions_of(base):
                if function.__name__ not in ("__init__", "build", "get_config"):
                    yield function, owner


def _is_own(kind):
    return str(kind.__module__).partition(".")[0] not in _OTHERS


def _plain(value):
    while isinstance(value, (types.MethodType, functools.partial)):
        value = value.__func__ if isinstance(value, types.MethodType) else value.func
    return value


def _called_by(function):
    """The functions that a function finds in its module and around it, and those of classes."""
    held = list(held_code.closure_of(function).values())
    for name in held_code.names_of(function):
        with contextlib.suppress(LookupError):
            held.append(held_code.value_of(function, name))
    for value in map(_plain, held):
        if isinstance(value, types.FunctionType):
            yield value
        elif isinstance(value, type) and _is_own(value) and not issubclass(value, keras.Layer):
            yield from held_code.functions_of(value)


def _changes(function, owner):
    return any(
        attribute is None or not _is_number(owner, attribute)
        for attribute in _changed_in(function.__code__)
    )


def _is_number(owner, attribute):
    return isinstance(getattr(owner, attribute, None), (bool, int, float))


@functools.lru_cache(maxsize=4096)
def _changed_in(code):
    """What code changes in place: names of attributes of its first argument, `None` for others."""
    instructions = [one for one in dis.get_instructions(code) if one.opname not in bytecode.NOTHING]
    found = set()
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _changed_in(constant)
        elif isinstance(constant, tuple) and _KEYWORDS.intersection(
            each for each in constant if isinstance(each, str)
        ):
            found.add(None)
    numbers = _counted(instructions)
    for number, one in enumerate(instructions):
        name = one.opname
        if name == "KW_NAMES" and _KEYWORDS.intersection(code.co_consts[one.arg]):
            found.add(None)
        elif name == "BINARY_OP" and one.argrepr.endswith("="):
            after = instructions[number + 1 : number + 3]
            attribute = next((x.argval for x in after if x.opname == "STORE_ATTR"), None)
            if attribute is not None or not set(bytecode.stored(after[0])[:1]) & numbers:
                found.add(attribute)
        elif name in ("STORE_SUBSCR", "STORE_SLICE"):
            key = instructions[number - 1]
            if key.opname != "LOAD_CONST" or not isinstance(key.argval, str):
                found.add(None)
        elif isinstance(one.argval, str) and _is_in_place(name, one.argval):
            found.add(None)
    return frozenset(found)


def _is_in_place(instruction, name):
    if not instruction.startswith("LOAD_") or instruction == "LOAD_CONST":
        return False
    if instruction.startswith("LOAD_FAST"):
        return False
    if name in _NAMES:
        return True
    ends = name.endswith("_") and not name.endswith("__") and name not in _HARMLESS
    owners = torch.Tensor, torch, torch.nn.functional, torch.nn.init
    return ends and any(hasattr(owner, name) for owner in owners)


def _counted(instructions):
    """Local names that begin as constants: what is added to such a one is a new tensor first."""
    constant, others = set(), set()
    before = None
    for one in instructions:
        for name in bytecode.stored(one)[:1]:
            if one.opname == "DELETE_FAST":
                continue
            if before is not None and before.opname in _CONSTANTS:
                constant.add(name)
            elif not (before is not None and before.opname == "BINARY_OP" and _updates(before)):
                others.add(name)
        if len(bytecode.stored(one)) > 1:
            others.update(bytecode.stored(one)[1:])
        before = one
    return constant - others


def _updates(one):
    return one.argrepr.endswith("=")
