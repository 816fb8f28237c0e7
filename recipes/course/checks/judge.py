"""How an answer is judged: case by case, with a hint at the first that is wrong."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Case:
    """One call of a student's function.

    Args:
        arguments: tuple.
        expected: number, array or tuple of them.
        hint: str, what to think about when the answer is another one.
        tolerance: float, relative and absolute.
    """

    arguments: tuple
    expected: object
    hint: str
    tolerance: float = 1e-6


def judge(function, cases, agrees=None):
    """Prints what to think about, or that all is right; returns whether it is.

    Args:
        function: the student's function.
        cases: list of `Case`, the simplest first.
        agrees: callable `(answer, expected, tolerance)` that says whether an answer is right; by
            default, whether all numbers are close.
    """
    agrees = agrees or _same
    name = function.__name__
    for case in cases:
        try:
            answer = function(*case.arguments)
        except Exception as error:  # a student's mistake is an answer too
            print(f"✗ {name}{_said(case.arguments)} ends with {type(error).__name__}: {error}")
            return False
        if answer is None or answer is Ellipsis:
            print(f"… {name} returns nothing yet: replace the blanks.")
            return False
        if not agrees(answer, case.expected, case.tolerance):
            print(f"✗ {name}{_said(case.arguments)} is not right yet. {case.hint}")
            return False
    print(f"✓ {name} is right.")
    return True


def _same(answer, expected, tolerance):
    try:
        answer, expected = np.asarray(answer, float), np.asarray(expected, float)
    except (TypeError, ValueError):
        return False
    close = answer.shape == expected.shape
    return close and np.allclose(answer, expected, rtol=tolerance, atol=tolerance)


def _said(arguments):
    text = ", ".join(np.array2string(np.asarray(a), precision=4, threshold=6) for a in arguments)
    return f"({text})" if len(text) < 80 else "(…)"
