"""The benchmark scripts run; what they measure is no matter for a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
def test_the_gpu_script_runs_small_on_a_processor(tmp_path):
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), "--tiny", f"--out={tmp_path}"],
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert all(check["passed"] for check in parts["checks"]["results"].values())
    assert len(parts["steps"]["results"]) == 2
    assert parts["recipe"]["state"] == "needs --data_dir"


def test_a_part_that_fails_does_not_end_the_others(tmp_path, monkeypatch):
    import gpu
    from absl import flags

    def run(name, seconds):
        (tmp_path / f"{name}.json").write_text('{"seen": 1}')  # before it fails or is cut off
        return {"steps": "failed with exit code 1"}.get(name, "done")

    monkeypatch.setattr(gpu, "_run_part", run)
    with flagsaver(data_dir="here"):
        document = gpu.run_parts(tmp_path, time.perf_counter() + 100)
    assert document["parts"]["steps"] | {"seconds": 0} == {
        "state": "failed with exit code 1", "seconds": 0, "results": {"seen": 1},
    }  # fmt: skip
    assert document["parts"]["seeds"]["state"] == "done"
    saved = json.loads((tmp_path / "gpu.json").read_text())
    assert saved["parts"] == document["parts"]
