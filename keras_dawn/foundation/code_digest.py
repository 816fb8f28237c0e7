"""What tells whether the code of a function or a class is the same in another process."""

import hashlib
import types

from keras_dawn.foundation.held_code import functions_of


def digest_of_code(value):
    """A digest of what a function, or a class's own functions, do; equal for equal code.

    Names of files, lines, comments and a function's docstring do not count, nor do the values
    that it looks up. It is of Python's bytecode, and so of one version of Python.

    Args:
        value: function or class.

    Returns:
        str, twelve hexadecimal digits.

    Example:
        >>> digest_of_code(lambda x: x + 1) == digest_of_code(lambda x: x + 1)
        True
        >>> digest_of_code(lambda x: x + 1) == digest_of_code(lambda x: x + 2)
        False
    """
    functions = functions_of(value) if isinstance(value, type) else [value]
    digest = hashlib.sha256()
    for function in functions:
        digest.update(function.__name__.encode() if isinstance(value, type) else b"")
        digest.update(_shape(function.__code__, function.__doc__))
    return digest.hexdigest()[:12]


def _shape(code, doc=None):
    constants = list(code.co_consts)
    if doc is not None and constants and constants[0] == doc:
        constants[0] = None
    parts = [code.co_code, repr(code.co_names).encode(), *map(_constant, constants)]
    return b"\0".join(parts)


def _constant(value):
    if isinstance(value, types.CodeType):
        return _shape(value)
    if isinstance(value, frozenset):  # in another order in every process
        return repr(sorted(map(repr, value))).encode()
    if isinstance(value, tuple):
        return b"(" + b",".join(map(_constant, value)) + b")"
    return repr(value).encode("utf-8", "surrogatepass")
