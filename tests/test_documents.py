"""Examples in docstrings and in the README run; every file says what it holds."""

import ast
import doctest
import importlib
import pkgutil
import re
import textwrap
from pathlib import Path

import keras_dawn
import keras_dawn.data.photos

import keras
import numpy as np
import pytest
import torch

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(keras_dawn.__path__, "keras_dawn.")
)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    names = {"keras_dawn": keras_dawn, "np": np, "torch": torch, **vars(module)}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    found = doctest.DocTestFinder().find(module, globs=names)
    # For each docstring a debugger is made ready, which looks at every file that was read.
    assert sum(runner.run(each).failed for each in found if each.examples) == 0


@pytest.mark.parametrize(
    "item",
    [
        item
        for module in (
            keras_dawn,
            keras_dawn.models,
            keras_dawn.data,
            keras_dawn.dawnbench,
            keras_dawn.distributed,
        )
        for name in module.__all__
        if callable(item := getattr(module, name))
    ],
)
def test_public_names_say_what_they_do(item):
    assert item.__doc__ and len(item.__doc__) > 30


PAGES = [
    "README.md",
    ".github/CONTRIBUTING.md",
    "keras_dawn/data/photos/README.md",
    "keras_dawn/native/README.md",
    "keras_dawn/distributed/README.md",
    "keras_dawn/resume/README.md",
    "recipes/cloud/README.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_python_on_a_page_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "recipes"))
    digit_photos = importlib.import_module("recipe_parts.digit_photos")
    digit_photos.write_digit_photos("photos", 96, 40)  # the folder that a page speaks of
    text = (ROOT / page).read_text(encoding="utf-8")
    if page == "README.md":  # minutes of training on photos in seconds
        for long, short in (
            ("epochs=40", "epochs=4"),
            ("epochs=5,", "epochs=1,"),
            ("image_size=224", "image_size=32"),
            ("0.0: 64, 0.5: 96, 0.8: 128", "0.0: 32, 0.5: 48, 0.8: 64"),
            ("image_size=128", "image_size=64"),
            ("validation=128", "validation=64"),
        ):
            assert long in text
            text = text.replace(long, short)
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    names = {}
    if page == "README.md":  # and fine-tuning as if a file of weights had been loaded
        monkeypatch.setattr("keras_dawn.models.resnet.load_pretrained", lambda *arguments: None)
        block = re.search(r"^    import keras_dawn\n(?:    .*\n|\n(?=    ))+", text, re.MULTILINE)
        assert "fine_tune" in block.group()
        blocks.append(textwrap.dedent(block.group()))
    for block in blocks:  # the README's stand for themselves, those of other pages go on
        names = {} if page == "README.md" else names
        exec(compile(block, page, "exec"), names)
    if page == "README.md":  # whose first example says what it prints, "94 to 96 %, by the seed"
        low, high = re.search(r"# (\d+) to (\d+) %, by the seed", README).groups()
        printed = float(re.match(r"([\d.]+)%\n", capsys.readouterr().out).group(1))
        assert int(low) - 1 <= printed <= int(high) + 1


def test_the_code_that_the_engines_page_shows_is_the_code(capsys):
    page = (ROOT / "keras_dawn/native/README.md").read_text(encoding="utf-8")
    block, shown = re.search(r"```python\n(.*?)```.*?```\n(.*?)```", page, re.DOTALL).groups()
    exec(compile(block, "native/README.md", "exec"), {})
    printed = re.sub(r"\s+", "", capsys.readouterr().out)
    calls = re.findall(r"= (torch\..*?\))\n", shown, re.DOTALL)
    assert len(calls) == 5
    for call in calls:
        assert re.sub(r"\s+|self\.", "", call) in printed


def test_every_file_says_first_what_it_holds():
    for folder in ("keras_dawn", "recipes", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            lesson = text.startswith("# %%")  # its first cell is a page of its own
            assert lesson or not text or ast.get_docstring(ast.parse(text)), path


def test_readme_commands_are_the_ones_ci_runs():
    commands = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)
    assert "recipes/cifar10_wrn.py" in commands[0] and "pytest" in commands[1]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in ci


def test_what_the_migration_page_calls_exists():
    text = (ROOT / "recipes" / "site" / "migration.md").read_text(encoding="utf-8")
    rows = [line.split(" | ")[1] for line in text.splitlines() if line.startswith("| ")]
    called = {name for row in rows for name in re.findall(r"([A-Za-z_][\w.]*)\(", row)}
    assert {"OneCycle", "data.DeviceImages", "keras_dawn.accelerate"} <= called
    places = [keras_dawn, keras_dawn.callbacks, keras_dawn.data.photos, keras, keras.Model]
    for name in called:
        path = re.sub(r"^(keras_dawn|keras|model)\.", "", name).split(".")
        assert any(_reach(place, path) for place in places), name


def links(page):
    """`(text, target)` of every link of a page to another file or a heading, not to the web."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = re.findall(r"\[([^\]]+)\]\(([^)\s]+)\)", text)
    return [(name, target) for name, target in found if "://" not in target]


def anchors(page):
    """The anchors of a page's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_link_of_the_documents_leads_somewhere():
    folders = [ROOT / name for name in (".github", "benchmarks", "keras_dawn", "recipes")]
    pages = [*ROOT.glob("*.md"), *(page for folder in folders for page in folder.rglob("*.md"))]
    seen, broken = 0, []
    for page in pages:
        for _, target in links(page):
            path, _, anchor = target.partition("#")
            place = (page.parent / path) if path else page
            seen += 1
            if not place.exists() or (anchor and anchor not in anchors(place)):
                broken.append(f"{page.relative_to(ROOT)}: {target}")
    assert seen > 40
    assert not broken


def _reach(place, path):
    for part in path:
        place = getattr(place, part, None)
    return place is not None
