"""Executes the lessons and makes a page of each: notebooks and HTML with all pictures.

    python recipes/course/build.py --output=site          # all lessons
    python recipes/course/build.py --output=site 2 10     # some of them

Needs `pip install -e '.[course]'`. A lesson that fails ends the build with its error.
"""

import argparse
import html
import re
import sys
import time
from pathlib import Path

import jupytext
import nbconvert
from nbconvert.preprocessors import ExecutePreprocessor

COURSE = Path(__file__).parent
STYLE = (
    "body{font-family:sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;line-height:1.5}"
)


def lessons(numbers=()):
    """Paths of the lessons in their order, by default of all."""
    paths = sorted(COURSE.glob("lesson*.py"))
    return [path for path in paths if not numbers or number_of(path) in numbers]


def number_of(path):
    """The lesson's number, from its name."""
    return int(re.match(r"lesson(\d+)_", path.name).group(1))


def title_of(path):
    """The lesson's title, from its first line of text."""
    return next(line for line in path.read_text().splitlines() if line.startswith("# # "))[4:]


def execute(path):
    """The lesson as an executed notebook; raises what its code raises."""
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
    """Writes a notebook and an HTML page for each lesson, and an index; returns the pages."""
    output.mkdir(parents=True, exist_ok=True)
    exporter = nbconvert.HTMLExporter(template_name="lab", embed_images=True)
    pages = []
    for path in lessons(numbers):
        begin = time.perf_counter()
        notebook = execute(path)
        jupytext.write(notebook, output / f"{path.stem}.ipynb")
        page, _ = exporter.from_notebook_node(notebook)
        (output / f"{path.stem}.html").write_text(page)
        pages.append(output / f"{path.stem}.html")
        print(f"{path.stem}: {time.perf_counter() - begin:.0f} s", flush=True)
    items = "".join(
        f'<li><a href="{path.stem}.html">{html.escape(title_of(path))}</a></li>'
        for path in lessons(numbers)
    )
    (output / "index.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>The clock goes down</title><style>{STYLE}</style>"
        f"<h1>The clock goes down</h1><p>Lessons on training fast, with keras_dawn.</p>"
        f"<ul>{items}</ul></html>\n"
    )
    return pages


def main(arguments=None):
    """Builds what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("site"), help="folder to write to")
    parser.add_argument("numbers", nargs="*", type=int, help="lessons; by default all")
    given = parser.parse_args(arguments)
    if unknown := set(given.numbers) - {number_of(path) for path in lessons()}:
        parser.error(f"there is no lesson {', '.join(map(str, sorted(unknown)))}")
    build(given.output, given.numbers)
    print(f"The course is in {given.output / 'index.html'}")


if __name__ == "__main__":
    sys.exit(main())
