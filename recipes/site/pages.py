"""Writes the pages of the documentation site and lets mkdocs make HTML of them.

What exists elsewhere is not written again: the first page is README.md, the reference is the
docstrings, the lessons are executed notebooks, the guides are the pages that lie beside the code.
Links between them are turned into links of the site.
"""

import ast
import copy
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

SITE = Path(__file__).parent
PROJECT = SITE.parent.parent
COURSE = PROJECT / "recipes" / "course"
GUIDES = {
    "keras_dawn/native/README.md": "guides/native_engine.md",
    "keras_dawn/distributed/README.md": "guides/several_gpus.md",
    "recipes/cloud/README.md": "guides/rented_machines.md",
    "recipes/course/README.md": "course/index.md",
    "recipes/course/grading.md": "course/grading.md",
    "benchmarks/README.md": "measured.md",
    "benchmarks/records/README.md": "records.md",
    "recipes/site/claims.md": "recipes.md",
    "recipes/site/migration.md": "migration.md",
    "README.md": "index.md",
}
REFERENCE = {
    "Top level": ["keras_dawn"],
    "Schedules": ["keras_dawn.schedules"],
    "Plans": ["keras_dawn.plans"],
    "Optimizers": ["keras_dawn.optimizers", "keras_dawn.foundation.hyperparameters"],
    "Data": ["keras_dawn.data", "keras_dawn.data.photos"],
    "Models": ["keras_dawn.models"],
    "Convolutions on a CPU": ["keras_dawn.convolutions"],
    "Native engine": ["keras_dawn.native", "keras_dawn.native.operation_counter"],
    "Callbacks": ["keras_dawn.callbacks"],
    "Evaluation": ["keras_dawn.evaluation"],
    "Resumption": ["keras_dawn.resume"],
    "Several processes": ["keras_dawn.distributed", "keras_dawn.distributed.scaling"],
    "Records and costs": [
        "keras_dawn.dawnbench", "keras_dawn.dawnbench.records", "keras_dawn.dawnbench.clock",
        "keras_dawn.dawnbench.time_to_accuracy", "keras_dawn.dawnbench.cost",
    ],
    "Pictures": ["keras_dawn.plots"],
}  # fmt: skip


def build(output, notebooks):
    """Builds the site.

    Args:
        output: path of the folder to write; what mkdocs wrote there before is replaced.
        notebooks: dict from a lesson's file name without ending to its executed notebook.

    Returns:
        Path of the first page.

    Raises:
        RuntimeError: mkdocs finds a broken link or a name that is not there.
    """
    output = Path(output).resolve()
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder) / "docs"
        shutil.copytree(PROJECT / "benchmarks" / "results", docs / "evidence")
        lessons = {name: lesson_page(docs, name, book) for name, book in notebooks.items()}
        for source in GUIDES:
            _write(docs / GUIDES[source], _linked(source, lessons))
        with open(docs / "recipes.md", "a", encoding="utf-8") as page:
            page.write(recipe_headers())
        _write(docs / "gallery.md", gallery_page(docs, lessons))
        shutil.copy(SITE / "style.css", docs / "style.css")
        for title, modules in REFERENCE.items():
            _write(docs / "reference" / f"{_slug(title)}.md", reference_page(title, modules))
        settings = yaml.safe_load((SITE / "mkdocs.yml").read_text(encoding="utf-8"))
        settings.update(docs_dir=str(docs), site_dir=str(output), nav=navigation(lessons))
        reference = settings["plugins"][-1]["mkdocstrings"]["handlers"]["python"]
        reference["paths"] = [str(PROJECT)]
        reference["options"]["extensions"] = [str(SITE / "docstrings.py")]
        settings_file = Path(folder) / "mkdocs.yml"
        settings_file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "-f", str(settings_file)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8")
    if done.returncode:
        raise RuntimeError(f"mkdocs could not build the site:\n{done.stdout}{done.stderr}")
    return output / "index.html"


def lesson_page(docs, name, notebook):
    """Writes a lesson's page and its pictures; returns its title and its pictures' paths."""
    import nbconvert

    notebook = copy.deepcopy(notebook)  # notebooks show formulas themselves
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_formulas(cell.source)
    exporter = nbconvert.MarkdownExporter()
    text, resources = exporter.from_notebook_node(notebook)
    figures = docs / "course" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    pictures = []
    files = sorted(
        resources["outputs"], key=lambda file: [int(n) for n in re.findall(r"\d+", file)]
    )
    for number, file in enumerate(files, 1):
        picture = figures / f"{name}-{number}.png"
        picture.write_bytes(resources["outputs"][file])
        pictures.append(picture)
        text = text.replace(f"({file})", f"(figures/{picture.name})")
    title = re.search(r"^# (.+)$", text, re.MULTILINE).group(1)
    text = text.replace("![png]", f"![{title}]")
    _write(docs / "course" / f"{name}.md", text)
    return {"title": title, "pictures": pictures}


def with_formulas(text):
    """Formulas between dollars as MathML, which browsers show without a script."""
    from latex2mathml.converter import convert

    return re.sub(r"\$([^$\n]+)\$", lambda found: convert(found.group(1)), text)


def gallery_page(docs, lessons):
    """All pictures of the lessons, each with a link to where it comes from."""
    lines = ["# Pictures", "", "Every picture is made by a lesson, from what it measured.", ""]
    lines.append('<div class="gallery" markdown="1">')
    for name, lesson in lessons.items():
        for picture in lesson["pictures"]:
            path = picture.relative_to(docs)
            lines += [
                '<figure markdown="1">',
                f"[![{lesson['title']}]({path})](course/{name}.md)",
                f"<figcaption>{lesson['title']}</figcaption>",
                "</figure>",
            ]
    return "\n".join([*lines, "</div>", ""])


def recipe_headers():
    """What each recipe claims, from the head of its file."""
    lines = [""]
    for path in sorted((PROJECT / "recipes").glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        title, _, rest = text.partition("\n")
        lines += [f"## `{path.name}`", "", f"**{title}**", rest.replace("*", r"\*"), ""]
    return "\n".join(lines)


def reference_page(title, modules):
    """Directives for the public names of modules, which mkdocstrings replaces."""
    lines = [f"# {title}", ""]
    for module in modules:
        members = public_names(module)
        options = f"    options:\n      members: {members}\n" if members is not None else ""
        lines += [f"::: {module}", options or ""]
    return "\n".join(lines)


def public_names(module):
    """What a package exports: the names in its `__all__`, or `None` for a plain module."""
    path = PROJECT / module.replace(".", "/") / "__init__.py"
    if not path.is_file():
        return None
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    return None


def navigation(lessons):
    """The site's menu."""
    course = [{"For lecturers and students": "course/index.md"}]
    course += [{lesson["title"]: f"course/{name}.md"} for name, lesson in lessons.items()]
    guides = {
        "Several GPUs": "guides/several_gpus.md",
        "Rented machines": "guides/rented_machines.md",
        "How the native engine works": "guides/native_engine.md",
        "Coming from somewhere else": "migration.md",
    }
    return [
        {"Start": "index.md"},
        {"Course": [*course, {"Grading": "course/grading.md"}]},
        {"Recipes": "recipes.md"},
        {"Measured": "measured.md"},
        {"Records": "records.md"},
        {"Pictures": "gallery.md"},
        {"Guides": [{title: page} for title, page in guides.items()]},
        {"Reference": [{title: f"reference/{_slug(title)}.md"} for title in REFERENCE]},
    ]


def _linked(source, lessons):
    """A page of the project with its relative links turned into the site's."""
    here = Path(GUIDES[source]).parent

    def link(found):
        text, target = found.groups()
        if "://" in target or target.startswith("#"):
            return found.group(0)
        path, _, anchor = target.partition("#")
        place = (PROJECT / source).parent.joinpath(path).resolve().relative_to(PROJECT).as_posix()
        if place in GUIDES:
            page = GUIDES[place]
        elif place.startswith("benchmarks/results/"):
            page = place.replace("benchmarks/results/", "evidence/")
        elif place.startswith("recipes/course/lesson"):
            page = f"course/{Path(place).stem}.md"
            if Path(place).stem not in lessons:
                return text  # a site of some lessons only
        else:
            return text  # a file of the source, not of the site
        up = "../" * len(here.parts)
        return f"[{text}]({up}{page}{'#' + anchor if anchor else ''})"

    return re.sub(r"\[([^\]]+)\]\(([^)]+)\)", link, (PROJECT / source).read_text(encoding="utf-8"))


def _slug(title):
    return title.lower().replace(" ", "_")


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
