"""Variables by regular expressions of their paths."""

import re


def check_patterns(patterns):
    """Regular expressions as a list; `ValueError` for a string that is not one."""
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"{pattern!r} is not a regular expression: {error}.") from None
    return list(patterns)


def matches(patterns, variable):
    """Whether a variable's path matches one of the regular expressions."""
    return any(re.search(pattern, variable.path) for pattern in patterns)


def first_match(multipliers, variable):
    """The multiplier of the first regular expression that matches a variable's path, or 1."""
    for pattern, multiplier in multipliers.items():
        if re.search(pattern, variable.path):
            return float(multiplier)
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
