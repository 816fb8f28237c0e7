"""Which attributes of a Keras object are the user's, and not Keras's, torch's or this package's."""

import dis
import functools
import types

from keras_dawn.foundation.held_parts import slots_of

import torch

_LIBRARIES = ("keras", "keras_dawn", "torch", "numpy")


def is_of_libraries(kind):
    """Whether a class is one of Keras's, torch's, NumPy's or this package's."""
    return kind.__module__.partition(".")[0] in _LIBRARIES


def own_attributes(thing):
    """The attributes of a layer, loss, metric or other object that no library's class of it sets.

    Returns:
        dict of values by name, in which lists and dicts that Keras tracks are among the values.
    """
    known = names_of_libraries(type(thing))
    found = {**slots_of(thing), **getattr(thing, "__dict__", {})}
    if isinstance(thing, torch.nn.Module):
        found |= vars(thing)["_buffers"]
    return {name: value for name, value in found.items() if name not in known}


@functools.cache
def names_of_libraries(kind):
    """Names that libraries' own code sets in the classes of a class, and what these define."""
    names = set()
    for base in kind.__mro__:
        if is_of_libraries(base):
            names.update(vars(base))
            for part in vars(base).values():
                part = getattr(part, "fget", None) or getattr(part, "__func__", part)
                part = getattr(part, "__wrapped__", part)
                _add_names(names, getattr(part, "__code__", None))
    return frozenset(names)


def _add_names(names, code):
    if not isinstance(code, types.CodeType):
        return
    names.update(each.argval for each in dis.get_instructions(code) if each.opname == "STORE_ATTR")
    if not {"setattr", "__setattr__"}.isdisjoint(code.co_names):
        names.update(c for c in code.co_consts if isinstance(c, str) and c.isidentifier())
    for constant in code.co_consts:  # functions within functions
        _add_names(names, constant)
