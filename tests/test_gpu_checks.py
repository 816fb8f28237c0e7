"""What the checks of the GPU script compare, and how its numbers were measured."""

import keras_dawn

import gpu_checks
import gpu_document
import gpu_parts
import gpu_report
import keras
import numpy as np


def test_how_gpu_numbers_were_measured_is_stated_whole():
    about = gpu_document.environment()
    assert about["versions"]["torch"] and about["hardware"]["processor"]
    assert about["versions"]["keras_dawn"] == keras_dawn.__version__


def test_what_a_machine_cannot_show_is_neither_passed_nor_failed(tmp_path, monkeypatch, capsys):
    def holds(device):
        return "all is well"

    def needs_a_gpu(device):
        gpu_checks.needs_gpu("cpu", "only a GPU shows it")

    def is_wrong(device):
        raise AssertionError("2 is not 3")

    monkeypatch.setattr(gpu_checks, "CHECKS", (holds, needs_a_gpu, is_wrong))
    cases = gpu_parts.Cases(tmp_path / "checks.json", {})
    gpu_checks.run(cases)
    assert cases.found["needs_a_gpu"] == {"skipped": "only a GPU shows it"}
    document = {"tiny": True, "parts": {"checks": {"state": "done", "results": cases.found}}}
    document["projection"] = gpu_report.projection(document, None)
    assert gpu_report.failures(document) == ["is_wrong"]
    capsys.readouterr()
    gpu_report.show(document)
    shown = capsys.readouterr().out
    for line in ("passed   holds: all is well", "skipped  needs_a_gpu: only a GPU shows it",
                 "FAILED   is_wrong: AssertionError('2 is not 3')", "128 px, 224 px, 288 px",
                 "--tiny: the script runs; of speed"):  # fmt: skip
        assert line in shown
    assert "images/s (" not in shown and "{" not in shown


def test_weights_are_compared_over_the_way_that_training_took_them():
    start, there, here = (
        keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)]) for _ in range(3)
    )
    start.set_weights([np.array([[2.0]]), np.array([0.0])])
    there.set_weights([np.array([[6.0]]), np.array([0.5])])
    here.set_weights([np.array([[5.0]]), np.array([0.5])])
    assert gpu_checks.apart(here, there, start) == 0.25
    assert gpu_checks.apart(there, there, start) == 0
    there.set_weights([np.array([[2.0]]), np.array([0.5])])  # stayed where the other one moved
    assert gpu_checks.apart(here, there, start) == float("inf")
