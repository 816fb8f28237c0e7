"""The benchmark scripts run; what they measure is no matter for a test."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import gpu_document
import gpu_parts
import gpu_recipes
import gpu_report
import imagenet_rehearsal
import pytest
import step_flags
import torch
from absl import app, flags
from gpu_parts import PARTS

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
def test_the_gpu_script_runs_small_on_a_processor_and_goes_on_after_a_part_that_fails(tmp_path):
    """Without the package on the path; CIFAR-10's folder is empty, so what reads it fails."""
    (tmp_path / "data").mkdir()
    flags = [f"--out={tmp_path / 'out'}", "--tiny"]
    flags += [f"--data_dir={tmp_path / 'data'}", "--max_minutes=15"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py"), *flags],
        capture_output=True,
        encoding="utf-8",
        timeout=1000,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["gpu.json"]
    assert (tmp_path / "out_runs").is_dir()
    document = json.loads((tmp_path / "out" / "gpu.json").read_text(encoding="utf-8"))
    assert document["tiny"] and document["calls"][0]["command"] == ["gpu.py", *flags]
    parts = document["parts"]
    states = {name: part["state"] for name, part in parts.items()}
    need_data = {"record", "recipe", "seeds"}
    assert states == {
        name: "failed with exit code 1" if name in need_data else "done" for name in PARTS
    } | {"sizes": "left out of a tiny run: steps has a size already"}, done.stdout + done.stderr
    assert "USDT" not in done.stderr
    assert done.returncode == 1 and "failed: record, recipe, seeds" in done.stderr
    checks = parts["checks"]["results"]
    assert all("skipped" in check or check["passed"] for check in checks.values())
    on_a_gpu = {"hand, CUDA graph", "keras_dawn, no graph", "keras_dawn, torch's BN"}
    for case in parts["steps"]["results"].values():
        assert not [name for name, result in case.items() if "error" in result]
        if not torch.cuda.is_available():
            skipped = {name for name, result in case.items() if "skipped" in result}
            assert skipped == on_a_gpu & set(case)


PART = """
import json, os, pathlib, subprocess, sys, time
name = [f.partition("=")[2] for f in sys.argv if f.startswith("--part=")][0]
runs = [f.partition("=")[2] for f in sys.argv if f.startswith("--runs_dir=")][0]
file = pathlib.Path(runs) / f"part_{name}.json"
if name == "sizes":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    (pathlib.Path(runs) / "child").write_text(str(child.pid))
file.write_text(json.dumps({f"{name} saw": 1}))
if name == "sizes":
    time.sleep(60)
sys.exit(3 if name == "steps" else 0)
"""


@pytest.fixture
def supervised(tmp_path, monkeypatch):
    """Runs parts whose processes only say that they ran; `sizes` hangs and `steps` fails."""
    script = tmp_path / "part.py"
    script.write_text(PART, encoding="utf-8")
    holder = flags.FlagValues()
    for name, value in (("runs_dir", str(tmp_path)), ("data_dir", None)):
        flags.DEFINE_string(name, value, "", flag_values=holder)
    flags.DEFINE_bool("tiny", False, "", flag_values=holder)
    holder.mark_as_parsed()
    monkeypatch.setattr(gpu_parts, "FLAGS", holder)
    monkeypatch.setattr(
        gpu_parts,
        "_command",
        lambda name: [sys.executable, str(script), f"--part={name}", f"--runs_dir={tmp_path}"],
    )

    def run(*names, seconds=60):
        out = tmp_path / "gpu.json"
        document = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {"parts": {}}
        gpu_parts.Supervisor(out, document, tmp_path, time.monotonic() + seconds).run(names)
        return json.loads(out.read_text(encoding="utf-8"))["parts"]

    return run


def test_parts_that_fail_or_run_over_end_alone_and_keep_what_they_found(
    supervised, tmp_path, monkeypatch
):
    monkeypatch.setitem(PARTS, "sizes", dataclasses.replace(PARTS["sizes"], minutes=2 / 60))
    parts = supervised("sizes", "steps", "checks", "record")
    assert parts["sizes"]["state"] == "cut off after 2 s"
    assert parts["steps"]["state"] == "failed with exit code 3"
    assert parts["checks"]["state"] == "done"
    assert parts["record"] == {"state": "needs --data_dir"}
    for name in ("sizes", "steps", "checks"):
        assert parts[name]["results"] == {f"{name} saw": 1}
    child = int((tmp_path / "child").read_text(encoding="utf-8"))
    with pytest.raises(ProcessLookupError):  # what a part has started ends with it
        for _ in range(200):
            os.kill(child, 0)
            time.sleep(0.05)


def test_a_part_is_given_the_flags_of_the_call_in_one_word_each(monkeypatch):
    """A value in a word of its own would end the part's flags, and the part would start parts."""
    holder = flags.FlagValues()
    own = {"flag_values": holder, "module_name": "gpu.py"}
    flags.DEFINE_bool("tiny", False, "", **own)
    flags.DEFINE_list("parts", [], "", **own)
    flags.DEFINE_float("max_minutes", 10.0, "", **own)
    for name in ("data_dir", "out"):
        flags.DEFINE_string(name, "there", "", **own)
    given = ["gpu.py", "--tiny", "--parts", "checks,steps", "--max_minutes", "6"]
    given += ["--data_dir", "a folder"]
    holder(given)
    monkeypatch.setattr(gpu_parts, "FLAGS", holder)
    monkeypatch.setattr(sys, "argv", given)
    command = gpu_parts._command("checks")
    assert sorted(command[3:]) == ["--data_dir=a folder", "--part=checks", "--tiny"]


@pytest.mark.parametrize(("tiny", "times"), [(False, 1), (True, 5)])
def test_a_part_that_runs_small_may_take_longer_on_a_busy_processor(
    supervised, monkeypatch, tiny, times
):
    most = {}
    monkeypatch.setattr(gpu_parts.Supervisor, "_run", lambda self, *part: most.update([part]))
    gpu_parts.FLAGS.tiny = tiny
    supervised("checks", seconds=10**4)
    assert most == {"checks": times * 60 * PARTS["checks"].minutes}


def test_what_a_recipe_writes_goes_to_a_new_folder_in_each_call(supervised, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_recipes, "FLAGS", gpu_parts.FLAGS)
    assert gpu_recipes.new_folder("record1") == tmp_path / "record1_call1"
    (tmp_path / "record1_call1").mkdir()  # of a part that was cut off
    assert gpu_recipes.new_folder("record1") == tmp_path / "record1_call2"


def test_a_commit_that_gpu_py_is_told_is_told_to_the_runs_of_the_record(tmp_path, monkeypatch):
    given = []

    @contextlib.contextmanager
    def running(script, **flags_of_it):
        given.append(flags_of_it)
        (tmp_path / "record.json").write_text('{"runs": {}}', encoding="utf-8")
        yield types.SimpleNamespace(poll=lambda: 0, wait=lambda: 0, args=[])

    monkeypatch.setattr(gpu_recipes, "_running", running)
    for commit in ("0123", None):
        told = {"tiny": True, "runs_dir": tmp_path, "data_dir": "data", "commit": commit}
        monkeypatch.setattr(gpu_recipes, "FLAGS", types.SimpleNamespace(**told))
        gpu_recipes.record(types.SimpleNamespace(found={}, keep=lambda name, found: None))
    assert given[0]["commit"] == "0123" and "commit" not in given[1]


def test_fewer_photos_than_a_batch_are_no_rehearsal():
    few = [sys.executable, str(BENCHMARKS / "imagenet_rehearsal.py"), "--images=1000"]
    done = subprocess.run(few, capture_output=True, encoding="utf-8")
    assert done.returncode and "flag --images=1000" in done.stderr and "1536" in done.stderr


def test_help_lists_the_flags_of_the_modules_beside_a_benchmark(tmp_path):
    neighbour = 'from absl import flags\nflags.DEFINE_bool("of_a_neighbour", True, "said")\n'
    (tmp_path / "neighbour.py").write_text(neighbour, encoding="utf-8")
    script = tmp_path / "script.py"
    script.write_text("import command_line, neighbour\ncommand_line.run(print)\n", encoding="utf-8")
    for argument, code, words in (("--help", 0, "--[no]of_a_neighbour"), ("5", 1, "Not a flag: 5")):
        done = subprocess.run(
            [sys.executable, str(script), argument],
            capture_output=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": str(BENCHMARKS)},
        )
        assert done.returncode == code and words in done.stdout + done.stderr


def test_a_name_that_no_case_has_is_refused(monkeypatch):
    cases = [("ResNet, small", 1), ("VAE, small", 2)]
    for only, names in ((None, cases), ("small", cases), ("VAE", cases[1:])):
        monkeypatch.setattr(step_flags, "FLAGS", types.SimpleNamespace(only=only))
        assert step_flags.chosen(iter(cases), lambda case: case[0]) == names
    monkeypatch.setattr(step_flags, "FLAGS", types.SimpleNamespace(only="vae"))
    with pytest.raises(app.UsageError, match="--only=vae in its name: ResNet, small; VAE, small"):
        step_flags.chosen(cases, lambda case: case[0])


def test_what_a_rehearsal_found_is_a_line_for_each_value():
    found = {
        "command": ["left out"],
        "photos": 1281167,
        "seconds": {"first batch": {"clock": 0.20574}},
        "mib_of_each": [1.0, 4.5, 2.0, 3.0],
        "ranks": [{"photos": 5}, {"photos": 7}],
        "sizes": [128, 224],
        "rectangular": False,
    }
    assert imagenet_rehearsal.lines_of(found) == [
        "photos: 1,281,167",
        "seconds, first batch, clock: 0.2057",
        "mib of each: 4 from 1 to 4.5",
        "ranks, 1, photos: 5",
        "ranks, 2, photos: 7",
        "sizes: 128, 224",
        "rectangular: no",
    ]


def test_a_part_that_a_tiny_run_leaves_out_says_why(supervised):
    gpu_parts.FLAGS.tiny = True
    found = supervised("sizes")["sizes"]
    assert found == {"state": "left out of a tiny run: steps has a size already"}


def test_numbers_measured_otherwise_are_not_gone_on_with(tmp_path):
    path = tmp_path / "gpu.json"
    settings = {"tiny": True, "cudnn_benchmark": True, "photos_dir": None}
    about = {"command": ["gpu.py", "--tiny"], "versions": {"torch": "2.11"}}
    about["hardware"] = {"gpus": ["A"], "cores": 2}
    first = gpu_document.opened(path, settings, about)
    assert first["tiny"] and first["versions"] == about["versions"]
    assert first["hardware"] == about["hardware"]
    first["parts"]["checks"] = {"state": "done"}
    path.write_text(json.dumps(first), encoding="utf-8")
    again = gpu_document.opened(path, settings, {**about, "command": ["gpu.py", "--parts=steps"]})
    assert again["parts"] == first["parts"]
    assert [call["command"][1] for call in again["calls"]] == ["--tiny", "--parts=steps"]
    with pytest.raises(ValueError, match="tiny True there, False now. Name another --out"):
        gpu_document.opened(path, {**settings, "tiny": False}, about)
    other = {**about, "hardware": {"gpus": ["B"], "cores": 2}}
    with pytest.raises(ValueError, match=r"otherwise: hardware, gpus \['A'\] there, \['B'\] now"):
        gpu_document.opened(path, settings, other)
    path.write_text(json.dumps({"parts": first["parts"]}), encoding="utf-8")  # of an older gpu.py
    with pytest.raises(ValueError, match="does not say how it was measured: tiny, cudnn"):
        gpu_document.opened(path, settings, about)


def test_a_second_call_goes_on_with_parts_without_results_first(supervised, tmp_path, monkeypatch):
    order = []
    monkeypatch.setattr(
        gpu_parts.Supervisor, "_run", lambda self, name, seconds: order.append(name)
    )
    assert supervised("checks", seconds=1)["checks"]["state"] == "no time left"
    whole, cut = {"state": "done", "results": {"a": 1}}, {"state": "cut off", "results": {"a": 1}}
    before = {"parts": {"checks": whole, "steps": cut}}
    (tmp_path / "gpu.json").write_text(json.dumps(before), encoding="utf-8")
    supervised("checks", "steps", "kernels")
    assert order == ["kernels", "steps"]


def test_a_case_that_was_found_is_not_measured_again(tmp_path):
    error = {"error": "RuntimeError()"}
    found = {"whole": {"ratio": 1.0}, "failed": error, "check": {"passed": False}}
    found["one of them"] = {"keras_dawn": error, "hand": {"ratio": 1.0}}
    cases = gpu_parts.Cases(tmp_path / "steps.json", found)
    missing = [name for name in (*found, "new") if cases.is_missing(name)]
    assert missing == ["failed", "check", "one of them", "new"]
    assert gpu_report.failures({"parts": {"steps": {"state": "done", "results": found}}}) == [
        "failed", "check", "one of them"
    ]  # fmt: skip
    cases.keep("new", {"ratio": 2.0})
    kept = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))
    assert kept == {**found, "new": {"ratio": 2.0}}


def test_a_part_with_a_case_that_failed_is_begun_again(supervised, monkeypatch):
    monkeypatch.setattr(gpu_parts.Supervisor, "_watch", lambda self, *_: 0)
    monkeypatch.setattr(
        gpu_parts.Supervisor,
        "_take_up",
        lambda self, name, part: part.update(results={"a": {"keras_dawn": {"error": "no"}}}),
    )
    for _ in range(2):
        assert supervised("checks")["checks"]["state"] == "ran to its end; 1 of its cases failed"
    order = []
    monkeypatch.setattr(gpu_parts.Supervisor, "_run", lambda self, *one: order.append(one[0]))
    supervised("checks")
    assert order == ["checks"]
