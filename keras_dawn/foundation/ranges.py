"""Settings that are a range of numbers above 0."""

import math
import numbers


def check_range(name, pair, most=None):
    """`(low, high)` as a tuple.

    Args:
        name: str, that of the argument.
        pair: what was given.
        most: float, the largest that `high` may be, or `None` for any finite one.

    Raises:
        ValueError: anything but two numbers with 0 < low ≤ high.

    Example:
        >>> check_range("scale", [0.5, 1], most=1)
        (0.5, 1)
    """
    two = isinstance(pair, (tuple, list)) and len(pair) == 2
    if two and all(isinstance(each, numbers.Real) for each in pair):
        low, high = pair
        if 0 < low <= high < math.inf and (most is None or high <= most):
            return low, high
    limit = "" if most is None else f" ≤ {most}"
    raise ValueError(
        f"`{name}` must be (low, high), numbers with 0 < low ≤ high{limit}, got {pair!r}."
    )
