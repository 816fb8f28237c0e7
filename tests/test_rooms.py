"""The rooms of the package: who may import whom, and who may read Keras's private attributes."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE, RECIPES = ROOT / "keras_dawn", ROOT / "recipes"
PAGE = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")

# Private attributes that are read elsewhere than in foundation/keras_*.py, by file.
PRIVATE = {
    # A subclass overrides what Keras's optimizers leave to be overridden, and calls the rest.
    "optimizers/sgd.py": {"_use_weight_decay", "_get_variable_index"},
    # torch's: how often a tensor was written to, and what DistributedDataParallel leaves alone.
    "native/lowering/draws.py": {"_version"},
    "native/lowering/watched.py": {"_version"},
    # torch's: what `Tensor.backward` comes to.
    "native/steps/backward.py": {"_engine_run_backward", "_version"},
    # torch's: a module's own tables, in which a parameter may have any name.
    "native/lowering/module.py": {"_parameters"},
    "native/steps/updates/counting.py": {"_version"},
    "native/steps/whole_step.py": {"_version"},
    "native/steps/guarding.py": {"_version"},
    "native/parallel.py": {"_set_params_and_buffers_to_ignore_for_model"},
    "native/operation_counter.py": {"_qualified_op_name"},
    # Of this package's own SGD: what its fused update takes over.
    "native/steps/updates/sgd.py": {"_traits"},
    "native/steps/updates/unfused.py": {"_velocities"},
    # filelock's: a forked process closes the file without releasing its parent's lock.
    "resume/folder_lock.py": {"_context"},
    # torch's: the workers of a loader that live on from one pass to the next.
    "resume/loader_workers.py": {"_iterator"},
    "native/steps/settings.py": {"_version"},
}

OWN = ("self", "cls", "super()")  # what a class inherits may be defined in another file
_BY_NAME = ("getattr", "hasattr", "setattr", "delattr")


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


def unseen_imports(tree):
    """The lines of relative imports, and of calls that import a module by a string."""
    importers = ("import_module", "__import__")
    relative = [n.lineno for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level]
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    dynamic = [n.lineno for n in calls if ast.unparse(n.func).split(".")[-1] in importers]
    return relative + dynamic


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
    assert circle(graph(MODULES)) is None


def test_every_import_is_written_so_that_these_tests_see_it():
    for name, tree in MODULES.items():
        found = unseen_imports(tree)
        assert not found, f"{name}, lines {found}: relative, or by a name made when it runs"


def test_imports_that_would_not_be_seen_are_found():
    code = "from . import a\nfrom ..native import b\nimport_module(f'keras_dawn.{c}')\n"
    code += "importlib.import_module('keras_dawn.native')\n__import__('keras_dawn')\n"
    assert unseen_imports(ast.parse(code)) == [1, 2, 3, 4, 5]
    assert not unseen_imports(ast.parse("from keras_dawn import a\nimport importlib"))


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
    of_package = {name for tree in MODULES.values() for name in defined(tree)}
    for path in sorted(PACKAGE.rglob("*.py")):
        file = path.relative_to(PACKAGE).as_posix()
        if file.startswith("foundation/keras_"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        of_file = set(defined(tree)) - stored_elsewhere(tree)
        foreign = {
            name
            for name, owner in private(tree)
            if name not in (of_package if owner in OWN else of_file)
        }
        assert foreign == PRIVATE.get(file, set()), file
        inside = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [name for node in inside for name in [*map(_name, node.names), module_of(node)]]
        assert not [name for name in names if name.startswith("keras.src")], file
        paths = {(n.value.id, n.attr) for n in ast.walk(tree) if _is_path(n)}
        assert ("keras", "src") not in paths, file


def test_private_attributes_are_found_however_they_are_read():
    code = "self._a\nx._b\ngetattr(y, '_c')\nsetattr(z.w, '_d', 1)\nsuper()._e()\ntorch._f\n__g__"
    found = [("_a", "self"), ("_b", "x"), ("_c", "y"), ("_d", "z"), ("_e", "super()")]
    assert sorted(private(ast.parse(code))) == found


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


def stored_elsewhere(tree):
    """Names of attributes that a file only sets on other objects than its own."""
    stored = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    stored = [n for n in stored if isinstance(n.ctx, ast.Store)]
    own = {n.attr for n in stored if ast.unparse(n.value) in OWN}
    named = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    return {n.attr for n in stored} - own - named


def private(tree):
    """`(name, owner)` of what begins with one underscore and is no name of torch's modules."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name, owner = node.attr, node.value
        elif isinstance(node, ast.Call) and node.args[1:] and ast.unparse(node.func) in _BY_NAME:
            owner, name = node.args[0], getattr(node.args[1], "value", None)
        else:
            continue
        if isinstance(name, str) and re.match(r"_[a-z]", name):
            owner = ast.unparse(owner).split(".")[0]
            if owner not in ("torch", "os"):
                yield name, owner


def module_of(node):
    return getattr(node, "module", None) or ""


def _name(alias):
    return alias.name


def _is_path(node):
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
