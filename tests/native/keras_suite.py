"""Keras's own tests, with every compiled model accelerated.

    python -m tests.native.keras_suite --keep=FOLDER
    python -m tests.native.keras_suite --keep=FOLDER --only=callbacks,models/model_test

`accelerate` promises the same model, the same `fit`, the same numbers. So what passes with
plain Keras on torch has to pass when each model is accelerated after its `compile`. Keras's
wheel brings its tests; they run twice, in processes of their own, and need no network. In
the second run only those run that passed and compiled a model, for the others are the same.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from absl import app, flags

from tests.native.keras_suite_plugin import read_lines
from tests.native.keras_suite_report import Comparison

FLAGS = flags.FLAGS

REPOSITORY = Path(__file__).parents[2]
_TRAINS = re.compile(r"(?<!\bre)\.compile\(|\.compile_from_config\(|run_layer_test\(")
_LEFT_OUT = (
    "backend/jax/",
    "backend/tensorflow/",
    "applications/",  # minutes long, and tests/native/test_applications.py trains these networks
    "ops/numpy_test.py",  # ten thousand tests for one that compiles a model, to predict
)
_FORMAT = 3  # of the kept outcomes

# Tests that cannot pass accelerated, and why. At most ten.
ALLOWED = {}

# Tests whose numbers cannot be the same, and why.
OTHER_NUMBERS = {
    "layers/regularization/spatial_dropout_test.py::SpatialDropoutTest::test_spatial_dropout_2d": (
        "the masks are random, and torch's are others than Keras's"
    ),
}


def keras_tests():
    """The folder of Keras's sources and tests; found without importing Keras."""
    return Path(importlib.metadata.distribution("keras").locate_file("keras/src"))


def files(only=()):
    """Keras's test files in which a model may be compiled, as paths in `keras_tests()`.

    Args:
        only: strings of which a path has to contain one, if there are any.
    """
    found = []
    for path in sorted(keras_tests().rglob("*_test.py")):
        name = path.relative_to(keras_tests()).as_posix()
        if name.startswith(_LEFT_OUT) or (only and not any(part in name for part in only)):
            continue
        if _TRAINS.search(path.read_text(encoding="utf-8")):
            found.append(name)
    return found


def run(names, results, *, accelerated=False, only=None, limit=60.0, echo=False):
    """Runs test files under pytest and returns the outcomes, a dictionary by test id.

    A test during which the process died has the outcome "crashed"; the others go on.

    Args:
        names: list of file names as `files` returns them.
        results: `Path` of a file of JSON lines. Tests that it has already are not repeated.
        accelerated: bool, whether every compiled model is accelerated.
        only: set of test ids to run, or `None` for all.
        limit: seconds for one test.
        echo: bool, whether to show pytest's output.
    """
    finished = {name for line in read_lines(results) for name in line.get("finished_files", ())}
    names = [name for name in names if name not in finished]
    if only is not None:
        of_files = {test.partition("::")[0] for test in only}
        names = [name for name in names if name in of_files]
    with tempfile.TemporaryDirectory() as folder:
        flags = [f"--suite-results={results.absolute()}", f"--suite-limit={limit}"]
        if accelerated:
            flags.append("--suite-accelerated")
        if only is not None:
            selected = Path(folder, "only.json")
            selected.write_text(json.dumps(sorted(only)), encoding="utf-8")
            flags.append(f"--suite-only={selected}")
        while names:
            begun = len(read_lines(results))
            returncode, printed = _pytest(folder, names, flags, echo)
            lines = read_lines(results)[begun:]
            if any("finished" in line for line in lines):
                _append(results, finished_files=names)
                break
            if not any("begins" in line for line in lines):
                raise RuntimeError(f"pytest ended with {returncode}:\n{printed[-5000:]}")
    return outcomes(results)


def _pytest(folder, names, flags, echo):
    environment = {**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(REPOSITORY)}
    environment |= {"OMP_NUM_THREADS": "1", "TMPDIR": folder, "HOME": folder, "KERAS_HOME": folder}
    # jit_compile=True is refused, and compiling would take half of the time of both runs
    environment |= {"TORCHDYNAMO_DISABLE": "1"}
    empty = Path(folder, "pytest.ini")
    empty.write_text("[pytest]\n", encoding="utf-8")
    command = [
        *(sys.executable, "-m", "pytest", "-q", "--tb=short", "--disable-warnings"),
        *("-p", "tests.native.keras_suite_plugin", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *("-p", "no:faulthandler", "--continue-on-collection-errors"),
        *("-c", empty, f"--rootdir={keras_tests()}", *flags),
        *(keras_tests() / name for name in names),
    ]
    output = None if echo else subprocess.PIPE
    ended = subprocess.run(
        command,
        env=environment,
        cwd=folder,
        stdout=output,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
    )
    return ended.returncode, ended.stdout or ""


def outcomes(results):
    """What a file of JSON lines says, by test id; one that only began has crashed."""
    found = {}
    for line in read_lines(results):
        if "begins" in line:
            crashed = {"outcome": "crashed", "error": "the process died", "seconds": 0.0}
            found[line["id"]] = {**crashed, "text": None, "compiled": True, "calls": []}
        elif "id" in line:
            found[line["id"]] = line
    return found


def run_both(keep=None, only=(), limit=60.0, again=False, echo=False):
    """Runs the tests plain, then accelerated; returns their `Comparison`.

    Args:
        keep: folder for the outcomes, or `None`. The plain run's are used again if they come
            from the same versions; the accelerated run is always repeated.
        only: strings, see `files`.
        limit: seconds for one test.
        again: bool, whether to repeat the plain run too.
        echo: bool, whether to show pytest's output.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(keep or stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        names = files(only)
        plain, accelerated = folder / "plain.jsonl", folder / "accelerated.jsonl"
        versions = {
            name: importlib.metadata.version(name) for name in ("keras", "torch", "numpy")
        } | {"python": platform.python_version(), "format": _FORMAT}
        if again or read_lines(plain)[:1] != [{"versions": versions}]:
            plain.unlink(missing_ok=True)
            _append(plain, versions=versions)
        accelerated.unlink(missing_ok=True)
        before = _of(run(names, plain, limit=limit, echo=echo), names)
        compiled = {i for i, o in before.items() if o["outcome"] == "passed" and o["compiled"]}
        after = run(names, accelerated, accelerated=True, only=compiled, limit=limit, echo=echo)
        return Comparison(before, after, ALLOWED)


def _of(found, names):
    return {test: o for test, o in found.items() if test.partition("::")[0] in names}


def _append(path, **line):
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def main(arguments):
    comparison = run_both(FLAGS.keep, FLAGS.only, FLAGS.limit, FLAGS.again, echo=True)
    print(comparison)
    return int(bool(comparison.broken()))


if __name__ == "__main__":
    flags.DEFINE_string("keep", None, "folder for the outcomes; the plain run's are used again")
    flags.DEFINE_list("only", [], "parts of paths: run these files alone")
    flags.DEFINE_float("limit", 60.0, "seconds for one test")
    flags.DEFINE_bool("again", False, "with --keep, repeat the plain run too")
    app.run(main)
