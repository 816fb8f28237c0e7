"""Silence about warnings that say nothing to the user, and about no others."""

import contextlib
import re
import warnings


@contextlib.contextmanager
def silenced(message=""):
    """Nothing is shown of warnings whose text begins so; the user's own come as ever afterwards.

    `warnings.catch_warnings` would make Python forget which of them were shown before: those of a
    line that is run in every step, of which one is shown, would come again.

    Args:
        message: str, a regular expression for the beginning of the text; `""`: all warnings.

    Example:
        >>> with silenced("of no"):
        ...     warnings.warn("of no interest")
    """
    entry = ("ignore", re.compile(message, re.IGNORECASE), Warning, None, 0)
    warnings.filters.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # someone has put other filters in its place
            warnings.filters.remove(entry)
