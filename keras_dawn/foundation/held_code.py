"""What functions and classes of the user's hold: closures, module-level names, attributes."""

import contextlib
import dis
import functools
import sys
import sysconfig
import types
from pathlib import Path

_LIBRARIES = tuple(
    str(Path(sysconfig.get_path(name)).resolve())
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
_PACKAGE = str(Path(__file__).resolve().parent.parent)
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
        owner.__globals__[name] = part
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
    """Names that a function, and those within it, look up in their module, but for modules."""
    known = function.__globals__
    return [
        name
        for name in _names(function.__code__)
        if name in known and not isinstance(known[name], types.ModuleType)
    ]


def functions_of(kind):
    """The functions that a class of the user's defines, also as methods of it and properties."""
    found = [getattr(part, "__func__", getattr(part, "fget", part)) for part in vars(kind).values()]
    return [part for part in found if isinstance(part, types.FunctionType)]


def is_users_function(function):
    """Whether a function is written by the user, and not by an installed package or this one."""
    return _is_users(function.__code__.co_filename)


@functools.lru_cache(maxsize=4096)
def is_users_class(kind):
    """Whether a class is written by the user, and not by an installed package or this one."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    if kind.__module__ == "__main__":
        return True
    return file is not None and _is_users(file)


@functools.lru_cache(maxsize=4096)
def _is_users(file):
    if file.startswith("<"):  # typed into a shell or a notebook, or part of Python
        return not file.startswith("<frozen")
    path = Path(file).resolve()
    if str(path).startswith((*_LIBRARIES, _PACKAGE)):
        return False
    return not any(map(_has_installed_packages, map(str, path.parents)))


@functools.cache
def _has_installed_packages(folder):
    """Whether Python imports from a folder into which packages were installed (`pip --target`)."""
    return folder in _resolved(tuple(sys.path)) and any(Path(folder).glob("*.dist-info"))


@functools.lru_cache(maxsize=8)
def _resolved(folders):
    return {str(Path(folder or ".").resolve()) for folder in folders}


def _parts_of_function(function):
    found = [(("closure", name), part) for name, part in closure_of(function).items()]
    found += [(("global", name), function.__globals__[name]) for name in names_of(function)]
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
