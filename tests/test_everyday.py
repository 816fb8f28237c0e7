"""The everyday benchmark: its models and their twins compute the same; the script runs."""

import json
import subprocess
import sys
from pathlib import Path

import everyday_plain
import everyday_series
import pytest
import torch
from everyday_cases import all_cases
from everyday_loop import AUTOCAST, COPY, Loop
from everyday_measure import check
from everyday_twins import linear_of
from everyday_variants import variants_of

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


def test_a_form_that_is_no_twin_is_found(monkeypatch):
    """Here the last of WaveNet's three forms."""

    def exchanges_the_gates(one, other):
        return _product_of(other, one)

    _product_of = everyday_series._product_of
    monkeypatch.setattr(everyday_series, "_product_of", exchanges_the_gates)
    with pytest.raises(ValueError, match="WaveNet: no twins"):
        check(next(case for case in CASES if case.name == "WaveNet"))


@pytest.mark.parametrize("name", ["series with batch normalization", "recommender, subclassed"])
def test_both_ways_of_bfloat16_train_alike(name):
    case = next(case for case in CASES if case.name == name)
    torch.manual_seed(0)
    model, batch = case.keras_model(), case.batch()
    arguments = next(iter(variants_of(case).values()))
    loops = [Loop(case, model, half, arguments) for half in (None, AUTOCAST, COPY)]
    start = [weight.detach().clone() for weight in loops[0].network.parameters()]
    for loop in loops:
        loop.train(batch, 20)
    exact, *halves = (loop.logs()["loss"] for loop in loops)
    assert halves == pytest.approx([exact, exact], rel=5e-3)
    exact, *halves = (list(loop.network.parameters()) for loop in loops)
    for weights in halves:  # in float32, and moved
        for weight, expected, before in zip(weights, exact, start, strict=True):
            torch.testing.assert_close(weight, expected, rtol=0.1, atol=0.02)
            assert (weight - before).abs().max() > 5e-3
    exact, *halves = (loop.predict(batch, 1) for loop in loops)
    for outputs in halves:
        assert outputs == pytest.approx(exact, abs=0.02)


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
