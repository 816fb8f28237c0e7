"""The rooms of the package: who may import whom, and who may read Keras's private attributes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE, RECIPES = ROOT / "keras_dawn", ROOT / "recipes"
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")

# Circles that an import within a function makes, and why it has to be there.
LAZY = {
    # One line at the first `fit` says what `explain` says, and `explain` asks the engine that
    # adds the callback which prints that line.
    ("keras_dawn.native.fit_callbacks", "keras_dawn.native.explain"),
}
# Private attributes that are read elsewhere than in foundation/keras_*.py, by file.
PRIVATE = {
    # A subclass overrides what Keras's optimizers leave to be overridden, and calls the rest.
    "optimizers/sgd.py": {"_use_weight_decay", "_get_variable_index"},
    # torch's: how often a tensor was written to, and what DistributedDataParallel leaves alone.
    "native/lowering/draws.py": {"_version"},
    "native/steps/settings.py": {"_version"},
    "native/steps/updates/counting.py": {"_version"},
    "native/steps/whole_step.py": {"_version"},
    "native/parallel.py": {"_set_params_and_buffers_to_ignore_for_model"},
}


def trees(folder, base):
    """The syntax tree of every file under a folder, by the name that imports know it by."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(base).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree, modules):
    """`(module, line)` of every import of these modules, those within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inner]
        else:
            continue
        yield from ((name, node.lineno) for name in names if name in modules)


def graph(modules):
    """For each module, the modules that it imports."""
    return {
        name: {found for found, _ in imports(tree, modules)} - {name}
        for name, tree in modules.items()
    }


def circle(graph):
    """Modules that import each other in a circle, or `None`."""
    path, done = [], set()

    def visit(name):
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return None
        path.append(name)
        found = next(filter(None, map(visit, sorted(graph[name]))), None)
        path.pop()
        done.add(name)
        return found

    return next(filter(None, map(visit, graph)), None)


def tiers():
    """The tiers that the page draws, lowest first, each a set of rooms."""
    (drawn,) = re.findall(r"^`foundation` →.*? → recipes\.$", PAGE, re.MULTILINE | re.DOTALL)
    return [set(re.findall(r"`(\w+)`", tier)) for tier in drawn.split("→")[:-1]]


def room_of(module):
    return module.split(".")[1] if "." in module else ""


MODULES = trees(PACKAGE, ROOT)


def test_the_page_draws_every_room_in_one_tier():
    drawn = [room for tier in tiers() for room in tier]
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert sorted(drawn) == sorted(rooms)
    picture = set(re.findall(r"^  (\w+)/  ", PAGE, re.MULTILINE))
    assert picture >= rooms


def test_nothing_imports_a_room_of_its_own_tier_or_above():
    place = {room: number for number, tier in enumerate(tiers()) for room in tier}
    wrong = []
    for name, tree in MODULES.items():
        here = room_of(name)
        if name == "keras_dawn":  # it shows what the rooms have
            continue
        for found, line in imports(tree, MODULES):
            there = room_of(found)
            if there != here and not place.get(there, len(place)) < place.get(here, -1):
                wrong.append(f"{name}, line {line}: {found}")
    assert not wrong


def test_no_module_of_the_package_imports_another_one_back():
    found = graph(MODULES)
    for importer, imported in LAZY:
        assert imported in found[importer], "no longer needed here"
        found[importer].discard(imported)
    assert circle(found) is None


@pytest.mark.parametrize("folder", [RECIPES, RECIPES / "course", RECIPES / "site"])
def test_no_recipe_is_imported_back(folder):
    modules = trees(folder, folder)  # a script's own folder is on the path
    found = graph(modules)
    assert any(found.values()) or folder.name == "site"
    assert circle(found) is None
    parts = {name for name in modules if name.startswith("recipe_parts")}
    assert all(found[name] <= parts for name in parts)


def test_nothing_in_the_package_knows_recipes_tests_or_benchmarks():
    outside = {"recipes", "recipe_parts", "tests", "benchmarks", *trees(RECIPES, RECIPES)}
    assert not [name for name, tree in MODULES.items() if list(imports(tree, outside))]


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) is None
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_private_attributes_of_keras_are_read_in_the_foundation():
    own = {name for tree in MODULES.values() for name in defined(tree)}
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        if file.startswith("foundation/keras_"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        foreign = {name for name in private(tree) if name not in own}
        assert foreign == PRIVATE.get(file, set()), file
        inside = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        assert not [node for node in inside if node.module.startswith("keras.src")], file


def test_importing_the_package_hides_no_warnings():
    changing = ("filterwarnings", "simplefilter", "catch_warnings", "resetwarnings")
    for name, tree in MODULES.items():
        for statement in tree.body:
            inner = (ast.FunctionDef, ast.ClassDef)
            calls = [] if isinstance(statement, inner) else ast.walk(statement)
            found = [n.attr for n in calls if isinstance(n, ast.Attribute) and n.attr in changing]
            assert not found, f"{name} changes the filters when it is imported"


def defined(tree):
    """The names that a file's own code gives to functions, classes and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def private(tree):
    """Names with one underscore that are read from something else than torch or a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.match(r"_[a-z]", node.attr):
            root = ast.unparse(node.value).split(".")[0]
            if root not in ("torch", "os", "function"):
                yield node.attr
