"""What functions and classes of the user's hold: closures, module-level names, attributes."""

import contextlib
import dis
import functools
import types

from keras_dawn.foundation.users_code import is_users_class, is_users_function, is_users_module

_FUNCTIONS = (types.FunctionType, types.MethodType, functools.partial)


def is_code(value):
    """Whether a value is a function, a method, a `functools.partial` or a class."""
    return isinstance(value, (*_FUNCTIONS, type))


def parts_of_code(value):
    """`(step, part)` of all that a function or a class of the user's holds.

    A step is `(how, name)`, as `put_part` takes it. The code of installed packages is not read:
    what it keeps is not the data's.
    """
    if isinstance(value, functools.partial):
        own = [("kept", "func"), ("kept", "args"), ("kept", "keywords")]
        return [(step, getattr(value, step[1])) for step in own]
    if isinstance(value, types.MethodType):
        return [(("kept", "__self__"), value.__self__), (("kept", "__func__"), value.__func__)]
    if isinstance(value, types.FunctionType):
        return _parts_of_function(value) if is_users_function(value) else []
    return _parts_of_class(value) if is_users_class(value) else []


def put_part(owner, step, part):
    """Puts a part of a function or a class into the place of the one that it has.

    Raises:
        ValueError: there is no way to.
    """
    how, name = step
    if how == "closure":
        cell_of(owner, name).cell_contents = part
    elif how == "global":
        put_name(owner, name, part)
    elif how == "attribute":
        setattr(owner, name, part)
    else:
        raise ValueError(f"{name} of a {type(owner).__name__} cannot be replaced")


def cell_of(function, name):
    """The cell of a function's closure that has a name."""
    return function.__closure__[function.__code__.co_freevars.index(name)]


def closure_of(function):
    """What a function's closure holds by now, by name."""
    found = {}
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    for name, cell in cells:
        with contextlib.suppress(ValueError):  # not filled yet
            found[name] = cell.cell_contents
    return found


def defaults_of(function):
    """What a function's arguments are by default, by name."""
    given, code = function.__defaults__ or (), function.__code__
    names = code.co_varnames[code.co_argcount - len(given) : code.co_argcount]
    return dict(zip(names, given, strict=True)) | (function.__kwdefaults__ or {})


def names_of(function):
    """Names that a function, and those within it, look up in their module.

    Of another module of the user's, which it looks up there or has in its closure, those that it
    uses: `module.name`.
    """
    known = function.__globals__
    found = []
    for name in _names(function.__code__):
        if name in known and not isinstance(known[name], types.ModuleType):
            found.append(name)
    within = {name: known.get(name) for name in _names(function.__code__)} | closure_of(function)
    for name, module in sorted(within.items()):
        found += _names_in(name, module, function.__code__)
    return found


def value_of(function, name):
    """What one of the names that `names_of` gave stands for now.

    Raises:
        LookupError: it is gone.
    """
    holder, name = _holder_of(function, name)
    return holder[name]


def has_name(function, name):
    """Whether one of the names that `names_of` gave stands for something now."""
    try:
        value_of(function, name)
    except LookupError:
        return False
    return True


def put_name(function, name, value):
    """Lets one of the names that `names_of` gave stand for another value."""
    holder, name = _holder_of(function, name)
    holder[name] = value


def remove_name(function, name):
    """Lets one of the names that `names_of` gave stand for nothing."""
    holder, name = _holder_of(function, name)
    del holder[name]


def _holder_of(function, name):
    """The dict of the module that a name is in, and its name there."""
    *modules, name = name.split(".")
    holder = function.__globals__
    if modules and modules[0] in function.__code__.co_freevars:
        holder = closure_of(function)
    for module in modules:
        if not isinstance(holder.get(module), types.ModuleType):
            raise LookupError(module)
        holder = vars(holder[module])
    return holder, name


def _names_in(way, module, code, depth=3):
    """The names of a module of the user's that code uses, by the way to them."""
    if not isinstance(module, types.ModuleType) or not is_users_module(module) or not depth:
        return []
    found = []
    for name in _attributes(code):
        if name in vars(module):
            value, inner = vars(module)[name], f"{way}.{name}"
            if isinstance(value, types.ModuleType):
                found += _names_in(inner, value, code, depth - 1)
            else:
                found.append(inner)
    return found


def functions_of(kind):
    """The functions that a class of the user's defines, also as methods of it and properties."""
    found = map(_function_of, vars(kind).values())
    return [part for part in found if isinstance(part, types.FunctionType)]


def _function_of(part):
    """The function of a method, a property and the like; other objects answer any name."""
    if isinstance(part, (staticmethod, classmethod)):
        return part.__func__
    if isinstance(part, property):
        return part.fget
    return part.func if isinstance(part, functools.cached_property) else part


def _parts_of_function(function):
    found = [(("closure", name), part) for name, part in closure_of(function).items()]
    found += [(("global", name), value_of(function, name)) for name in names_of(function)]
    defaults = list(defaults_of(function).values())
    found += [(("kept", f"default {number}"), part) for number, part in enumerate(defaults)]
    return found + [(("attribute", name), part) for name, part in sorted(vars(function).items())]


@functools.lru_cache(maxsize=4096)
def _names(code):
    """Names that a function and those within it may look up in their module, in order."""
    looked_up = ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME")
    names = {each.argval for each in dis.get_instructions(code) if each.opname in looked_up}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= set(_names(constant))
    return tuple(sorted(names))


@functools.lru_cache(maxsize=4096)
def _attributes(code):
    """Names of attributes that a function and those within it read or set, in order."""
    looked_up = ("LOAD_ATTR", "STORE_ATTR", "LOAD_METHOD", "DELETE_ATTR", "IMPORT_FROM")
    names = {each.argval for each in dis.get_instructions(code) if each.opname in looked_up}
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= set(_attributes(constant))
    return tuple(sorted(names))


def _parts_of_class(kind):
    found = []
    for base in kind.__mro__:
        if not is_users_class(base):
            continue
        for name, part in sorted(vars(base).items()):
            if isinstance(part, (staticmethod, classmethod)):
                part = part.__func__
            elif isinstance(part, property):
                part = part.fget
            special = name.startswith("__") and name.endswith("__")
            if part is None or (special and not isinstance(part, types.FunctionType)):
                continue
            # What a subclass hides is not the same as what it shows.
            if vars(kind).get(name, part) is part or base is kind:
                how = "attribute" if base is kind else "kept"
                found.append(((how, name), part))
    return found
