"""From the wheel to a trained classifier on a folder of 1,000 photos, as the README says.

    python benchmarks/first_classifier.py --folder=FOLDER --json=FILE

Builds the wheel, makes a new environment, installs the wheel there with what it depends on, lays
out `photos/train` and `photos/val` in an empty folder, and runs the README's section on photos
there, statement by statement, each with its time. FOLDER has `train/` and `val/` with a folder a
class; without one, photos of coloured noise are made. `--here` takes what the package depends on
from the environment that this runs in, and then says nothing about the time of an installation.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from keras_dawn.dawnbench.records import environment

import command_line
import numpy as np
from absl import flags
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_string("folder", None, "folder with train/ and val/ to take the photos from")
flags.DEFINE_integer("photos", 1000, "how many, 85 % of them to train on", lower_bound=40)
flags.DEFINE_bool("here", False, "install the wheel alone, the rest as it is here")
flags.DEFINE_string("json", None, "file to write the results to")

ROOT = Path(__file__).parent.parent
SUFFIXES = (".jpg", ".jpeg", ".png")
MADE_CLASSES = 5
# Runs in the new environment: the file's statements in turn, with the time of each.
RUNNER = """
import ast, json, sys, time
text = open(sys.argv[1], encoding="utf-8").read()
names, rows = {"__name__": "__main__"}, []
for statement in ast.parse(text).body:
    begun = time.perf_counter(), time.process_time()
    exec(compile(ast.Module([statement], []), "README.md", "exec"), names)
    line = ast.get_source_segment(text, statement).splitlines()[0]
    rows.append([line, time.perf_counter() - begun[0], time.process_time() - begun[1]])
accuracy = names["history"].history["val_accuracy"][-1]
found = {"rows": rows, "accuracy": accuracy, "classes": len(names["photos"].class_names),
         "package": names["keras_dawn"].__file__}
open(sys.argv[2], "w", encoding="utf-8").write(json.dumps(found))
"""


def photo_code():
    """The README's code for a folder of photos."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## A folder of photos")[2]
    return re.search(r"```python\n(.*?)```", section, re.DOTALL).group(1)


def lay_out(folder, count, source=None):
    """`photos/train` and `photos/val`: evenly taken from a folder, or made."""
    for part, photos in (("train", round(0.85 * count)), ("val", count - round(0.85 * count))):
        if source is None:
            _make(folder / "photos" / part, photos)
            continue
        classes = sorted(path for path in (Path(source) / part).iterdir() if path.is_dir())
        for place, path in enumerate(classes):
            wanted = (photos + place) // len(classes)
            files = sorted(f for f in path.iterdir() if f.suffix.lower() in SUFFIXES)[:wanted]
            to = folder / "photos" / part / path.name
            to.mkdir(parents=True)
            for file in files:
                shutil.copy(file, to)


def _make(folder, count):
    random = np.random.default_rng(count)
    for number in range(count):
        label = number % MADE_CLASSES
        (folder / f"class{label}").mkdir(parents=True, exist_ok=True)
        height, width = random.integers(100, 300, 2)
        pixels = random.integers(0, 120, (height, width, 3), dtype=np.uint8)
        pixels[..., label % 3] += np.uint8(60 + 40 * (label // 3))
        Image.fromarray(pixels).save(folder / f"class{label}" / f"{number:04}.jpg")


def steps(folder):
    """Does it all, step by step: `(what, seconds, processor seconds)` of each, and the result."""
    rows, home, source = [], folder / "venv", folder / "source"

    def timed(what, function, *arguments):
        clock = time.perf_counter(), _processor_seconds()
        function(*arguments)
        rows.append((what, time.perf_counter() - clock[0], _processor_seconds() - clock[1]))

    timed("make an environment", lambda: venv.create(home, with_pip=True, symlinks=os.name != "nt"))
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if FLAGS.here:
        (own,) = home.glob("**/site-packages")
        others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        (own / "dependencies.pth").write_text("\n".join(others), encoding="utf-8")
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "keras_dawn", source / "keras_dawn", ignore=ignored)
    pip = [python, "-m", "pip"]
    wheel = [*pip, "wheel", "-q", "--no-deps", "-w", folder / "dist", source]
    timed("build the wheel", _run, wheel, folder)
    (wheel,) = (folder / "dist").glob("*.whl")
    alone = ["--no-deps", "--no-index"] if FLAGS.here else []
    what = "install the wheel alone" if FLAGS.here else "install the wheel and what it needs"
    timed(what, _run, [*pip, "install", "-q", *alone, wheel], folder)
    work = folder / "work"
    lay_out(work, FLAGS.photos, FLAGS.folder)
    (work / "readme.py").write_text(photo_code(), encoding="utf-8")
    (work / "run.py").write_text(RUNNER, encoding="utf-8")
    _run([python, "run.py", "readme.py", "found.json"], work)
    found = json.loads((work / "found.json").read_text(encoding="utf-8"))
    if not Path(found["package"]).is_relative_to(home.resolve()):
        raise RuntimeError(f"The code ran with {found['package']}, which was not installed here.")
    rows += [(f"README: {line}", *seconds) for line, *seconds in found.pop("rows")]
    return rows, found


def _run(command, folder):
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "KERAS_BACKEND")}
    done = subprocess.run(
        list(map(str, command)), cwd=folder, env=clean, capture_output=True, encoding="utf-8"
    )
    if done.returncode:
        said = f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        raise RuntimeError(f"{' '.join(map(str, command[1:4]))} failed:\n{said}")


def _processor_seconds():
    return sum(os.times()[:4])  # of this process and those that it has waited for


def main(argv):
    with tempfile.TemporaryDirectory() as folder:
        rows, found = steps(Path(folder))
    total, processor = (sum(row[column] for row in rows) for column in (1, 2))
    said = (
        f"{100 * found['accuracy']:.1f} % of {found['classes']} classes after {total:.0f} s, "
        f"{processor:.0f} s of processor time"
    )
    table = Table(title="From the wheel to a classifier", caption=said)
    table.add_column("step", overflow="fold")
    for column in ("seconds", "of processor time"):
        table.add_column(column, justify="right")
    for what, *seconds in rows:
        # Escaped: brackets in a line of code are no colours.
        table.add_row(escape(what), *(f"{value:.1f}" for value in seconds))
    Console().print(table)
    if FLAGS.json:
        document = {
            **environment(),
            "photos": FLAGS.photos,
            "dependencies_from_here": FLAGS.here,
            "steps": rows,
            "seconds": total,
            "processor_seconds": processor,
            **{name: found[name] for name in ("accuracy", "classes")},
        }
        Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    command_line.run(main)
