"""Code is told apart by what it does, not by where it is written."""

from keras_dawn.foundation.code_digest import digest_of_code

import pytest


def made(text, name="f"):
    known = {}
    exec(compile(text, "<made>", "exec"), known)
    return known[name]


def test_places_comments_and_docstrings_do_not_count():
    first = made('def f(x):\n    "Doubles."\n    return [x * n for n in (1, 2)]')
    other = made('\n\ndef f(x):  # later\n    "Does."\n    return [x * n for n in (1, 2)]')
    assert digest_of_code(first) == digest_of_code(other)


@pytest.mark.parametrize(
    "text",
    [
        "def f(x):\n    return x + 2",
        "def f(x):\n    return x * 1",
        "def f(x):\n    return abs(x) + 1",
        "def f(x):\n    return (lambda: x + 2)()",
    ],
)
def test_constants_operations_names_and_inner_functions_count(text):
    first = made("def f(x):\n    return x + 1")
    inner = made("def f(x):\n    return (lambda: x + 1)()")
    assert digest_of_code(made(text)) not in (digest_of_code(first), digest_of_code(inner))


def test_of_a_class_its_own_functions_count():
    first, same, other = (
        made(f"class A:\n    a = {a}\n    def f(self):\n        return {b}", "A")
        for a, b in ((1, 1), (2, 1), (1, 2))
    )
    assert digest_of_code(first) == digest_of_code(same) != digest_of_code(other)
