"""The parts of `gpu.py`: what each measures, how long it may take, and who watches over it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from absl import flags

FLAGS = flags.FLAGS
_SHORTEST = 8  # seconds; a part that has less does not get past its imports
_PATIENCE = 5  # times as long for a part that runs small on a processor which others use, too


@dataclass(frozen=True)
class Part:
    """One part.

    Args:
        work: `(module, function)`, called with a `Cases`.
        minutes: float, what it may take at most.
        needs_data: bool, whether it needs CIFAR-10.
        not_small: str, why a tiny run leaves it out.
    """

    work: tuple
    minutes: float
    needs_data: bool = False
    not_small: str = ""


PARTS = {
    "checks": Part(("gpu_checks", "run"), 2),
    "steps": Part(("gpu_steps", "main_cases"), 5),
    "record": Part(("gpu_recipes", "record"), 2, needs_data=True),
    "recipe": Part(("gpu_recipes", "wrn"), 2.5, needs_data=True),
    "normalizations": Part(("gpu_normalizations", "run"), 1),
    "kernels": Part(("gpu_kernels", "run"), 2),
    "sizes": Part(("gpu_steps", "other_sizes"), 2, not_small="steps has a size already"),
    "heuristics": Part(("gpu_steps", "heuristics"), 1.5),
    "photos": Part(("gpu_photos", "run"), 2),
    "compiled": Part(("gpu_steps", "compiled"), 4),
    "seeds": Part(("gpu_recipes", "seeds"), 4, needs_data=True),
}


def skipped(reason):
    """The result of a case, or of one contestant, that this machine cannot show."""
    return {"skipped": reason}


def went_wrong(result):
    """Whether a case's result is an error or a check that failed, or one of a contestant's is."""
    if not isinstance(result, dict):
        return False
    if "error" in result or result.get("passed") is False:
        return True
    return any(map(went_wrong, result.values()))


class Cases:
    """The cases of a part, those of an earlier call included, kept in a file as they come.

    Args:
        path: `Path` of the JSON file.
        found: dict, what earlier calls found.
    """

    def __init__(self, path, found):
        self.path, self.found = path, found

    def is_missing(self, name):
        """Whether a case was never measured to its end; one that failed is tried again."""
        return not self.found.get(name) or went_wrong(self.found[name])

    def keep(self, name, result):
        """Keeps a case's result, and prints it."""
        self.found[name] = result
        print(f"{name}: {json.dumps(result, ensure_ascii=False)[:600]}", flush=True)
        _write(self.path, self.found)


def run_here(name):
    """Runs one part in this process: `gpu.py` starts itself with `--part` for it."""
    import importlib

    import torch

    torch.backends.cudnn.benchmark = FLAGS.cudnn_benchmark
    module, function = PARTS[name].work
    document = Path(FLAGS.out) / "gpu.json"
    earlier = json.loads(document.read_text(encoding="utf-8"))["parts"] if document.exists() else {}
    cases = Cases(_file(name), (earlier.get(name) or {}).get("results") or {})
    getattr(importlib.import_module(module), function)(cases)


class Supervisor:
    """Runs parts one after the other until a moment, and keeps `gpu.json` up to date.

    Args:
        path: `Path` of `gpu.json`.
        document: dict, what is in there, or will be.
        runs: `Path`, folder for the parts' own files.
        deadline: float, on `time.monotonic`'s clock.
    """

    def __init__(self, path, document, runs, deadline):
        self.path, self.document, self.runs, self.deadline = path, document, runs, deadline

    def run(self, names):
        """Runs the parts that are not whole yet, first those that have nothing."""
        parts = self.document["parts"]
        done = [name for name in names if parts.get(name, {}).get("state") == "done"]
        if done:
            print(f"done by earlier calls, not measured again: {', '.join(done)}", flush=True)
        names = [name for name in names if name not in done]
        for name in sorted(names, key=lambda name: bool(parts.get(name, {}).get("results"))):
            left = self.deadline - time.monotonic()
            if FLAGS.tiny and PARTS[name].not_small:
                parts[name] = {"state": f"left out of a tiny run: {PARTS[name].not_small}"}
            elif PARTS[name].needs_data and not FLAGS.data_dir:
                parts[name] = {"state": "needs --data_dir"}
            elif left < _SHORTEST:
                parts.setdefault(name, {"state": "no time left"})
            else:
                most = 60 * PARTS[name].minutes * (_PATIENCE if FLAGS.tiny else 1)
                self._run(name, min(left, most))
            self.write()
        return self.document

    def write(self):
        """Writes `gpu.json`."""
        _write(self.path, self.document)

    def _run(self, name, seconds):
        earlier = self.document["parts"].get(name, {})
        part = self.document["parts"][name] = {"state": "running", **_only_results(earlier)}
        print(f"\n== {name}, at most {seconds:.0f} s", flush=True)
        began = time.monotonic()
        _file(name).unlink(missing_ok=True)
        self.write()  # the part reads there what it has already
        process = subprocess.Popen(_command(name), start_new_session=True)
        try:
            code = self._watch(process, name, part, began + seconds)
        finally:  # a part that was interrupted, too, and what it has started
            _end(process)
        part["state"] = {None: f"cut off after {seconds:.0f} s", 0: "done"}.get(
            code, f"failed with exit code {code}"
        )
        part["seconds"] = round(earlier.get("seconds", 0) + time.monotonic() - began, 1)
        self._take_up(name, part)
        wrong = [case for case, found in part.get("results", {}).items() if went_wrong(found)]
        if wrong and part["state"] == "done":
            part["state"] = f"ran to its end; {len(wrong)} of its cases failed"

    def _watch(self, process, name, part, end):
        """Waits for a part's end, and takes up what it has found meanwhile; its exit code."""
        while time.monotonic() < end:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(min(2.0, max(0.01, end - time.monotonic())))
            if self._take_up(name, part):
                self.write()
        return None

    def _take_up(self, name, part):
        file = _file(name)
        if not file.exists():
            return False
        found = json.loads(file.read_text(encoding="utf-8"))
        changed = found != part.get("results")
        part["results"] = found
        return changed


def _only_results(earlier):
    return {"results": earlier["results"]} if earlier.get("results") else {}


def _command(name):
    script = Path(__file__).with_name("gpu.py")
    given = [
        flag.serialize()  # in one word, however it was given
        for flag in FLAGS.get_key_flags_for_module(sys.argv[0])
        if flag.present and flag.name not in ("parts", "max_minutes")
    ]
    return [sys.executable, "-u", str(script), *given, f"--part={name}"]


def _end(process):
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _file(name):
    return Path(FLAGS.runs_dir) / f"part_{name}.json"  # record.py has a record.json there


def _write(path, document):
    """Writes a file whole: whoever reads it meanwhile sees the one before."""
    new = path.with_suffix(".new")
    new.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    new.replace(path)
