"""The benchmark scripts run; what they measure is no matter for a test."""

import json
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
        encoding="utf-8",
        timeout=500,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert all(check["passed"] for check in parts["checks"]["results"].values())
    assert len(parts["steps"]["results"]) == 2
    assert parts["recipe"]["state"] == "needs --data_dir"


@pytest.mark.slow
def test_a_part_that_fails_does_not_end_the_others(tmp_path):
    program = f"""
import gpu, gpu_steps, sys, time
from absl import flags
flags.FLAGS(["gpu"])
states = {{"steps": "failed with exit code 1", "kernels": "cut off after 3 s"}}
def run(name, seconds):
    (out / f"{{name}}.json").write_text('{{"seen": 1}}')  # before it fails or is cut off
    return states.get(name, "done")
from pathlib import Path
out = Path({str(tmp_path)!r})
gpu._run_part = run
gpu.run_parts(out, time.perf_counter() + 100)
"""
    subprocess.run([sys.executable, "-c", program], cwd=BENCHMARKS, check=True, timeout=100)
    parts = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["parts"]
    assert parts["steps"]["state"] == "failed with exit code 1"
    assert parts["steps"]["results"] == {"seen": 1}
    assert parts["kernels"]["results"] == {"seen": 1}
    assert parts["checks"]["state"] == "done"
    assert parts["recipe"]["state"] == "needs --data_dir"
