"""Differences between what a program gave plain and accelerated."""

import re
from dataclasses import dataclass

import numpy as np

_COUNTED = re.compile("acc|top_k|auc|precision|recall|f1|iou")
TOLERANCES = {"float64": 1e-9, "float32": 2e-4, "mixed_float16": 1e-2, "mixed_bfloat16": 5e-2}


@dataclass(frozen=True)
class Difference:
    """Something that is not the same.

    Args:
        statement: int, number of the statement.
        what: str, such as `"value.history.loss"` or `"weight 3 l1/kernel"`.
        message: str.
        size: float, for numbers: how far they are apart, relative to the largest (or 1).
    """

    statement: int
    what: str
    message: str
    size: float | None = None

    def is_counted(self):
        """Whether it is about a number of examples, which jumps."""
        return _COUNTED.search(self.what) is not None

    def kind(self):
        """A short name, the same for failures that look the same."""
        if self.what == "error":
            return " ".join(re.sub(r"\(.*?\)( instead|$)", r"\1", self.message, flags=re.S).split())
        return f"{re.split('[ .]', self.what)[0]}{'' if self.size is None else ' numbers'}"


def tolerance(program):
    """How far numbers may be apart, by the lowest precision that a program uses."""
    source = program.source()
    for half in ("bfloat16", "float16"):
        if half in source:
            return TOLERANCES[f"mixed_{half}"]
    return TOLERANCES["float32" if "float32" in source else program.precision]


def differences(plain, native, tolerance):
    """All `Difference`s of the first statement that has any; errors and structure first."""
    for number, (ours, theirs) in enumerate(zip(native, plain, strict=False)):
        found = list(_outcomes(number, ours, theirs, tolerance))
        if found:
            return sorted(found, key=lambda difference: difference.size is not None)
    if len(native) != len(plain):
        raise AssertionError("one of the runs ended early without an error")
    return []


def _outcomes(number, ours, theirs, tolerance):
    if ours.error or theirs.error:
        both = ours.error and theirs.error
        if not both or not issubclass(ours.error[0], theirs.error[0]):
            yield Difference(number, "error", f"{_name(ours.error)} instead of "
                             f"{_name(theirs.error)}")  # fmt: skip
        return
    if ours.warned != theirs.warned:
        yield Difference(number, "warnings", f"{ours.warned} instead of {theirs.warned}")
    yield from _values(number, "value", ours.value, theirs.value, tolerance)
    if list(ours.state) != list(theirs.state):
        missing = set(theirs.state) ^ set(ours.state)
        yield Difference(number, "state", f"other variables or metrics: {sorted(missing)}")
        return
    for key, value in theirs.state.items():
        yield from _values(number, key, ours.state[key], value, tolerance)


def _name(error):
    return "no error" if error is None else f"{error[0].__name__} ({error[1][:300]})"


def _values(number, what, ours, theirs, tolerance):
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if list(ours) != list(theirs):
            yield Difference(number, what, f"keys {list(ours)} instead of {list(theirs)}")
        for key in theirs:
            if key in ours:
                yield from _values(number, f"{what}.{key}", ours[key], theirs[key], tolerance)
        return
    if isinstance(theirs, (list, tuple)) and isinstance(ours, (list, tuple)):
        if type(ours) is not type(theirs) or len(ours) != len(theirs):
            yield Difference(number, what, f"{ours!r:.200} instead of {theirs!r:.200}")
            return
        for index, (our, their) in enumerate(zip(ours, theirs, strict=True)):
            yield from _values(number, f"{what}.{index}", our, their, tolerance)
        return
    numbers = (int, float, np.generic, np.ndarray)
    if isinstance(theirs, numbers) and isinstance(ours, numbers):
        yield from _numbers(number, what, ours, theirs, tolerance)
    elif ours != theirs:
        yield Difference(number, what, f"{ours!r:.200} instead of {theirs!r:.200}")


def _numbers(number, what, ours, theirs, tolerance):
    if np.ndim(theirs) and np.asarray(ours).dtype != np.asarray(theirs).dtype:
        yield Difference(number, what, f"{ours.dtype} instead of {theirs.dtype}")
    if not np.ndim(theirs) and isinstance(ours, np.ndarray) != isinstance(theirs, np.ndarray):
        yield Difference(number, what, f"{type(ours)} instead of {type(theirs)}")
    ours, theirs = np.asarray(ours).astype("float64"), np.asarray(theirs).astype("float64")
    if ours.shape != theirs.shape:
        yield Difference(number, what, f"shape {ours.shape} instead of {theirs.shape}")
        return
    size = distance(ours, theirs)
    if tolerance in (TOLERANCES["mixed_bfloat16"], TOLERANCES["mixed_float16"]) and _COUNTED.search(
        what
    ):
        return  # one rounding may turn an example over
    if size > tolerance:
        yield Difference(number, what, f"{_short(ours)} instead of {_short(theirs)}", size)


def distance(ours, theirs):
    """The largest difference relative to the largest number, or to 1; infinite where only one
    of the two is finite."""
    if not theirs.size:
        return 0.0
    same = (ours == theirs) | (np.isnan(ours) & np.isnan(theirs))
    if same.all():
        return 0.0
    with np.errstate(all="ignore"):
        apart = np.where(same, 0.0, np.abs(ours - theirs))
    finite = theirs[np.isfinite(theirs)]
    scale = max(1.0, np.abs(finite).max()) if finite.size else 1.0
    return float(np.nan_to_num(apart, nan=np.inf, posinf=np.inf).max() / scale)


def _short(array):
    flat = array.flatten()
    return " ".join(f"{value:.8g}" for value in flat[:4]) + (" …" if flat.size > 4 else "")
