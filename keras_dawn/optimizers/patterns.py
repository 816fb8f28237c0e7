"""Variables by regular expressions of their paths."""

import re
from collections.abc import Mapping

from keras_dawn.optimizers.numbers_in_range import number


def check_patterns(patterns):
    """Regular expressions as a list; `ValueError` for a string that is not one."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}.") from None
    return list(patterns)


def check_multipliers(name, multipliers):
    """Multipliers by regular expression, a new dict of floats.

    Args:
        name: str, that of the argument.
        multipliers: dict, or `None` for none.

    Raises:
        ValueError: anything else, a bad expression, or a multiplier that is no finite number from 0
            up.
    """
    if not isinstance(multipliers, Mapping | None):
        raise ValueError(
            f"`{name}` must be a dict from regular expression to number, got {multipliers!r}."
        )
    check_patterns(multipliers or ())
    return {
        pattern: number(f"{name}[{pattern!r}]", value, "a finite number from 0 up")
        for pattern, value in (multipliers or {}).items()
    }


def matches(patterns, variable):
    """Whether a variable's path matches one of the regular expressions."""
    return any(re.search(pattern, variable.path) for pattern in patterns)


def first_match(multipliers, variable):
    """The multiplier of the first regular expression that matches a variable's path, or 1."""
    for pattern, multiplier in multipliers.items():
        if re.search(pattern, variable.path):
            return multiplier
    return 1.0


def is_vector(variable):
    """Whether a variable is a bias, a scale or the like, whose norms and directions say little.

    The biases of attention and of a GRU, and some scales, have several dimensions.
    """
    return len(variable.shape) < 2 or variable.path.rpartition("/")[2] in _VECTORS


_VECTORS = ("alpha", "beta", "bias", "gamma", "scale")


def check_matches(patterns, variables, name):
    """Raises `ValueError` for a pattern that matches the path of no variable."""
    for pattern in patterns:
        if not any(re.search(pattern, variable.path) for variable in variables):
            paths = [variable.path for variable in variables]
            some = ", ".join(paths[:8]) + (f" and {len(paths) - 8} more" if len(paths) > 8 else "")
            raise ValueError(
                f"The pattern {pattern!r} of `{name}` matches no trainable variable. There are: "
                f"{some}."
            )
