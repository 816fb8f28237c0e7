"""Keras's own tests pass with every compiled model accelerated, and most of them natively."""

import os

import pytest

from tests.native import keras_suite
from tests.native.keras_suite_report import Comparison


def outcome(result="passed", calls=(), compiled=True):
    return {
        "outcome": result,
        "error": None,
        "compiled": compiled,
        "seconds": 1.0,
        "calls": [list(call) for call in calls],
    }


def test_a_comparison_finds_what_is_broken_and_what_stepped_natively():
    native, refused = ("fit", True, None, False, [1.0]), ("fit", False, "why", False, [1.0])
    plain = {name: outcome(calls=[("fit", None, None, False, [1.0])]) for name in "abcd"}
    plain |= {"e": outcome("failed"), "f": outcome(compiled=False)}
    accelerated = {
        "a": outcome(calls=[native, native]),
        "b": outcome(calls=[native, refused]),
        "c": outcome("failed", calls=[refused]),
        "d": outcome("failed", calls=[("fit", True, None, False, [2.0])]),
    }
    comparison = Comparison(plain, accelerated, {"d": "a reason"})
    assert list(comparison.broken()) == ["c"]
    assert comparison.missing() == []
    assert list(comparison.different()) == ["d"]
    assert "fit that returned: 4; every one native: 2, at least one: 3" in str(comparison)
    assert "2  why" in str(comparison)


@pytest.mark.slow
def test_a_test_that_kills_its_process_has_crashed_and_the_others_go_on(tmp_path, monkeypatch):
    (tmp_path / "one_test.py").write_text(
        "import os\n"
        "import absent_package\n"
        "def test_first(): pass\n"
        "def test_second(): os._exit(1)\n"
        "def test_third(): absent_package.thing()\n"
        "def test_fourth():\n"
        "    import time\n"
        "    time.sleep(60)\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(keras_suite, "keras_tests", lambda: tmp_path)
    found = keras_suite.run(["one_test.py"], tmp_path / "results.jsonl", limit=0.5)
    results = [
        found[f"one_test.py::test_{name}"] for name in ("first", "second", "third", "fourth")
    ]
    assert [o["outcome"] for o in results] == ["passed", "crashed", "failed", "failed"]
    assert results[2]["error"].startswith("ModuleNotFoundError: absent_package.thing")
    assert results[3]["error"].startswith("TimeoutError: longer than 0.5 s")


def test_few_tests_are_allowed_to_fail():
    assert len(keras_suite.ALLOWED) <= 10
    assert all(keras_suite.ALLOWED.values())


@pytest.fixture(scope="module")
def comparison():
    keep = os.environ.get("KERAS_SUITE_KEEP")  # a folder with outcomes of an earlier plain run
    return keras_suite.run_both(keep)


@pytest.mark.slow
def test_what_passes_plain_passes_accelerated(comparison):
    assert len(comparison.compiled()) > 600
    assert not comparison.missing()
    assert not comparison.broken(), str(comparison)
    assert set(keras_suite.ALLOWED) <= set(comparison.compiled())


@pytest.mark.slow
def test_most_tests_that_fit_do_so_natively(comparison):
    assert len(comparison.native()) > 0.6 * len(comparison.fits()), str(comparison)


@pytest.mark.slow
def test_histories_and_weights_are_the_same(comparison):
    different = set(comparison.different()) - set(comparison.broken())
    assert different <= set(keras_suite.OTHER_NUMBERS) | set(keras_suite.ALLOWED), str(comparison)
