"""A setting in words: to be compared in another process, and to be read."""

import enum
import hashlib
import os
import time

from keras_dawn.resume.attribute_values import size

import numpy as np
import torch

CODE = "code "  # how words begin that are a digest of code
_OTHER = "values "  # and those that are a digest of values
_PLAIN = (bool, int, str, bytes, range, type(None))
_MOST = 1000  # numbers of an array, values in a list
_SHORT = 80  # characters of words that are shown
_TIMES = (1e9, 4e9)  # seconds since 1970: when a process began is no setting
_CLOCKS = [(clock, clock() - 60) for clock in (time.time, time.perf_counter, time.monotonic)]


def words_of(value):
    """A number, a string, a short array or list of those in words; `None` of anything else.

    Example:
        >>> words_of([0.1, "loss", None])
        '[0.1, loss, None]'
    """
    words = _words(value) if size(value) <= _MOST else None
    if words is not None and len(words) > _SHORT:
        return _OTHER + hashlib.sha256(words.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return words


def change_in_words(path, old, new):
    """What has changed, for a line about all that has; words as `words_of` made them.

    Example:
        >>> change_in_words("EarlyStopping.patience", "9", "0")
        'patience of EarlyStopping 9 → 0'
    """
    owner, _, setting = path.rpartition(".")
    named = f"{setting} of {owner}" if owner else path
    if old.startswith(CODE) and new.startswith(CODE):
        return f"the code of {named}"
    if _OTHER in (old[: len(_OTHER)], new[: len(_OTHER)]):
        return f"other values in {named}"
    old, new = ("code of one's own" if each.startswith(CODE) else each for each in (old, new))
    return f"{named} {old} → {new}"


def _words(value):
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}.{value.name}"
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, np.generic):
        value = value.item()
    if type(value) in (int, float) and _is_a_time(value):
        return None
    if type(value) is float:
        return repr(value)
    if type(value) in _PLAIN:
        return value if isinstance(value, str) else repr(value)
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return _of_array(value)
    if isinstance(value, dict):
        pairs = [(_words(key), _words(part)) for key, part in value.items()]
        known = all(None not in pair for pair in pairs)
        return f"{{{', '.join(map(': '.join, pairs))}}}" if known else None
    if isinstance(value, (list, tuple, set, frozenset)):
        parts = list(map(_words, value))
        if None in parts:
            return None
        return f"[{', '.join(sorted(parts) if isinstance(value, (set, frozenset)) else parts)}]"
    return None


def _is_a_time(value):
    """Whether a number is one that a clock has shown to this process, or shows to a later one."""
    if type(value) is int:
        return _CLOCKS[0][1] < value <= time.time()
    # Whole numbers, and small ones on a machine that has started just now, may well be settings.
    seen = any(max(began, 60) < value <= clock() for clock, began in _CLOCKS)
    return _TIMES[0] < value < _TIMES[1] or (seen and not value.is_integer())


def _of_array(value):
    if isinstance(value, torch.Tensor):
        if value.layout != torch.strided or value.is_meta or value.numel() > _MOST:
            return None
        value = value.detach().cpu()
    elif value.size > _MOST or value.dtype.kind not in "biuf":
        return None
    return repr(value.tolist())
