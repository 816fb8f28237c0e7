"""Executes the lessons and builds the documentation site around them.

    python recipes/course/build.py --output=site           # all lessons, the whole site
    python recipes/course/build.py --output=site 2 10      # some of them
    python recipes/course/build.py --seeds=0,1,2           # do the stated numbers hold?

Needs `pip install -e '.[course]'` and no network. `site/index.html` is the site, `site/notebooks/`
has the executed lessons, `site/course/figures/` their pictures. A lesson that fails ends the build
with its error. `--seeds` runs every lesson once with each seed, as scripts, and fails unless every
number that a lesson states holds within the tolerance that it states.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path

COURSE = Path(__file__).parent
NEEDED = (
    "jupytext",
    "nbconvert",
    "ipykernel",
    "mkdocs",
    "material",
    "mkdocstrings",
    "latex2mathml",
)


def lessons(numbers=()):
    """Paths of the lessons in their order, by default of all."""
    paths = sorted(COURSE.glob("lesson*.py"))
    return [path for path in paths if not numbers or number_of(path) in numbers]


def number_of(path):
    """The lesson's number, from its name."""
    return int(re.match(r"lesson(\d+)_", path.name).group(1))


def execute(path):
    """The lesson as an executed notebook; raises what its code raises."""
    import jupytext
    from nbconvert.preprocessors import ExecutePreprocessor

    notebook = jupytext.read(path)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python",
        "language": "python",
    }
    ExecutePreprocessor(timeout=600, kernel_name="python3").preprocess(
        notebook, {"metadata": {"path": str(COURSE)}}
    )
    return notebook


def build(output, numbers=()):
    """Executes lessons and writes the site; returns the path of its first page."""
    import jupytext

    spec = importlib.util.spec_from_file_location("pages", COURSE.parent / "site" / "pages.py")
    pages = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pages)
    notebooks = {}
    for path in lessons(numbers):
        begin = time.perf_counter()
        notebooks[path.stem] = execute(path)
        print(f"{path.stem}: {time.perf_counter() - begin:.0f} s", flush=True)
    index = pages.build(output, notebooks)
    (output / "notebooks").mkdir(exist_ok=True)
    for name, notebook in notebooks.items():
        jupytext.write(notebook, output / "notebooks" / f"{name}.ipynb")
    return index


def check_numbers(seeds, numbers=()):
    """Runs the lessons with each seed; returns the `(lesson, seed, error)`s that did not hold."""
    broken = []
    for path in lessons(numbers):
        for seed in seeds:
            environment = {**os.environ, "COURSE_MODE": "strict", "COURSE_SEED": str(seed)}
            environment["PYTHONIOENCODING"] = "utf-8"  # what the lessons print: ✓, ✗
            done = subprocess.run(
                [sys.executable, path.name], cwd=COURSE, env=environment, capture_output=True,
                encoding="utf-8",
            )  # fmt: skip
            stated = [line for line in done.stdout.splitlines() if "this page:" in line]
            print(f"{path.stem}, seed {seed}:", *stated, sep="\n  ", flush=True)
            if done.returncode:
                said = done.stderr.strip().splitlines()  # nothing where it was killed
                error = said[-1] if said else f"exit code {done.returncode}"
                print(f"  {error}", flush=True)
                broken.append((path.stem, seed, error))
    return broken


def main(arguments=None):
    """Does what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("site"), help="folder to write to")
    parser.add_argument("--seeds", help="check the stated numbers with these seeds instead")
    parser.add_argument("numbers", nargs="*", type=int, help="lessons; by default all")
    given = parser.parse_args(arguments)
    if unknown := set(given.numbers) - {number_of(path) for path in lessons()}:
        parser.error(f"there is no lesson {', '.join(map(str, sorted(unknown)))}")
    if given.seeds:
        try:
            seeds = [int(seed) for seed in given.seeds.split(",")]
        except ValueError:
            parser.error(f"--seeds must be whole numbers such as 0,1,2; got {given.seeds!r}")
        broken = check_numbers(seeds, given.numbers)
        print(f"{len(broken)} of the runs did not come to what the lessons state.")
        return 1 if broken else 0
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        parser.error(f"{', '.join(missing)} is missing: pip install -e '.[course]'")
    print(f"The site begins at {build(given.output, given.numbers)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
