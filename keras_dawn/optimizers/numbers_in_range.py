"""Numbers that an optimizer is given, checked before they reach a weight."""

import math
import numbers


def number(name, value, what, *, above=None, below=math.inf):
    """A setting as a float.

    Args:
        name: str, that of the argument.
        value: what was given: a number, an array or a tensor of one.
        what: str, what it has to be, for the message.
        above: float that it has to be above, or `None` where 0 is allowed and nothing below it.
        below: float that it has to be below.

    Raises:
        ValueError: anything else, NaN and infinity included.
    """
    try:
        if isinstance(value, str):  # float("0.1") would do
            raise TypeError
        found = value if isinstance(value, numbers.Real) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    low = found >= 0 if above is None else found > above
    if not low or not found < below:
        raise ValueError(f"`{name}` must be {what}, got {value!r}.")
    return float(found)
