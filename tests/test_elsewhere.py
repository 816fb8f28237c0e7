"""Windows and other locales, rehearsed on this machine: nothing here was run on Windows itself."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.elsewhere import MISSING

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "keras_dawn").rglob("*.py"))
AWKWARD = "Prüfung mit Räumen, 試験"
PART = [
    *("tests/foundation", "tests/schedules", "tests/plans", "tests/optimizers", "tests/callbacks"),
    *("tests/plots", "tests/dawnbench", "tests/data", "tests/evaluation", "tests/models"),
    *("tests/resume/test_resume.py", "tests/resume/test_callback_states.py"),
    *("tests/native/test_accelerate.py", "tests/recipes/test_recipe.py"),
]
# What looks at array_record itself, at locks or signals between processes, at several ranks, at
# /dev/full, or at how much memory there is.
NOT_THERE = (
    "array_record or builder or tfds or full or ctrl_c or in_use or two_checkpoints or "
    "two_processes or environment_names"
)


NO_UTF8 = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def latin1(tmp_path):
    """Variables of a locale in Latin-1, or of one in ASCII where none can be made."""
    folder = tmp_path / "locales"
    folder.mkdir()
    if shutil.which("localedef"):
        command = ["localedef", "-f", "ISO-8859-1", "-i", "de_DE", str(folder / "de_DE")]
        subprocess.run(command, capture_output=True)
    found = (folder / "de_DE").is_dir()
    language = {"LOCPATH": str(folder), "LC_ALL": "de_DE"} if found else {"LC_ALL": "C"}
    return {**language, **NO_UTF8}


def python(*arguments, cwd, **variables):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "torch", **variables}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, cwd=cwd, env=environment, timeout=1200
    )


@pytest.mark.parametrize("path", PACKAGE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_module_imports_at_its_top_what_windows_lacks(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    plain = [node for node in tree.body if isinstance(node, ast.Import)]
    names = [alias.name for node in plain for alias in node.names]
    names += [node.module for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not set(MISSING) & {name.split(".")[0] for name in names}


PROGRAM = """
from tests import elsewhere
elsewhere.hide()
import sys
import keras_dawn, keras
import numpy as np
from keras_dawn.dawnbench.records import HistoryWriter, RunFolder, environment

model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
model.compile("adam", "mse")
keras_dawn.accelerate(model)
folder = RunFolder(sys.argv[1])
callbacks = [HistoryWriter(folder), keras_dawn.ResumeTraining(sys.argv[1] + "/saved")]
model.fit(np.ones((8, 4)), np.ones((8, 2)), epochs=2, verbose=0, callbacks=callbacks)
model.save(sys.argv[1] + "/model.keras")
keras.saving.load_model(sys.argv[1] + "/model.keras")
folder.write_json("run.json", environment())
"""


def test_a_training_without_posix_leaves_its_record_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / AWKWARD
    command = ("-W", "ignore:only soft", "-c", PROGRAM, folder)
    done = python(*command, cwd=tmp_path, LC_ALL="C", **NO_UTF8)
    assert done.returncode == 0, done.stderr
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert document["command"][1] == str(folder)
    assert document["hardware"]["memory_gib"] is None
    assert len((folder / "history.csv").read_text(encoding="utf-8").splitlines()) == 3
    assert len(list((folder / "saved").glob("*.pt"))) == 2


@pytest.mark.slow
def test_a_part_of_the_suite_passes_without_posix(tmp_path, latin1):
    base = tmp_path / AWKWARD
    base.mkdir()
    done = python(
        "-m", "pytest", "-p", "tests.elsewhere", "-p", "no:cacheprovider", "-n", "0",
        "-W", "ignore:only soft", "-k", f"not ({NOT_THERE})", "--basetemp", base / "t", *PART,
        cwd=ROOT, **latin1,
    )  # fmt: skip
    printed = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, printed[-5000:]
    assert int(re.search(r"(\d+) passed", printed).group(1)) > 300
