"""Whose code something is: the user's, or that of an installed package, Python or this one."""

import functools
import os
import sys
import sysconfig
from pathlib import Path

_LIBRARIES = tuple(
    os.path.join(Path(sysconfig.get_path(name)).resolve(), "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)
# With a separator: a folder beside it may begin with its name.
_PACKAGE = os.path.join(Path(__file__).resolve().parent.parent, "")


def is_users_function(function):
    """Whether a function is written by the user, and not by an installed package or this one."""
    return _is_users(function.__code__.co_filename)


def is_users_module(module):
    """Whether a module is one of the user's files, and of no installed package or this one."""
    file = vars(module).get("__file__")
    return isinstance(file, str) and _is_users(file)


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
