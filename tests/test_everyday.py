"""The everyday benchmark: its models and their twins compute the same; the script runs."""

import json
import subprocess
import sys
from pathlib import Path

import everyday_plain
import pytest
import torch
from everyday_cases import all_cases
from everyday_measure import check
from everyday_twins import linear_of

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "everyday.py"
CASES = [case for case in all_cases() if case.twin]
HUB = pytest.mark.slow, pytest.mark.filterwarnings("default")  # TensorFlow's and KerasHub's own


@pytest.mark.parametrize(
    "case",
    [pytest.param(c, id=c.name, marks=HUB if "KerasHub" in c.name else ()) for c in CASES],
)
def test_a_model_and_its_twin_compute_the_same(case):
    found = check(case)
    assert (found["training"] is None) == case.by_chance


def test_a_network_that_is_no_twin_is_found(monkeypatch):
    def forgets_the_bias(layer):
        module = linear_of(layer)
        torch.nn.init.ones_(module.bias)
        return module

    monkeypatch.setattr(everyday_plain, "linear_of", forgets_the_bias)
    with pytest.raises(ValueError, match="regression, RMSprop: no twins"):
        check(everyday_plain.cases()[-1])


def test_the_script_measures_a_case_and_reports_one_that_fails(tmp_path):
    program = """
import everyday, everyday_plain, sys
from absl import app
first, *_, last = everyday_plain.cases()
def breaks():
    raise RuntimeError("no such model")
import dataclasses
broken = dataclasses.replace(last, name="broken", keras_model=breaks)
everyday.cases = lambda scale: [first, broken]
app.run(everyday.main)
"""
    file = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-c", program, "--tiny", f"--json={file}"],
        cwd=SCRIPT.parent, capture_output=True, encoding="utf-8", timeout=100,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    found = json.loads(file.read_text(encoding="utf-8"))
    measured, broken = found["results"].values()
    assert measured["apart"]["evaluation"] < 1e-5
    assert set(measured["train"]["milliseconds"]) == {
        "keras_dawn",
        "plain Keras",
        "hand, penalty in the loss",
        "hand, penalty as Adam's decay",
    }
    assert "no such model" in broken["error"]
    means = found["summary"]["train, small, float32, by graph, n/t"]
    assert means["cases"] == 1
    assert means["geometric_mean"] == pytest.approx(measured["train"]["n/t"][0])
