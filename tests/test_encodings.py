"""Text is read and written in a named encoding: the locale's is another one on each machine."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = [
    path.relative_to(ROOT).as_posix()
    for folder in ("keras_dawn", "recipes", "benchmarks", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
# Where the first argument of `read_text` and `write_text` that may be the encoding stands.
PLACES = {"read_text": 0, "write_text": 1}
# Whose `open` opens no text file.
OTHERS = {"os", "tarfile", "Image", "opener"}


def without_encoding(code):
    """The calls in a piece of code that read or write text in the locale's encoding."""
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    return [call for call in calls if lacks_encoding(call)]


def lacks_encoding(call):
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    name = getattr(call.func, "attr", getattr(call.func, "id", None))
    if "encoding" in given:
        return False
    if name in PLACES:
        return len(call.args) <= PLACES[name]
    if name in ("open", "fdopen"):
        method = isinstance(call.func, ast.Attribute)
        owner = ast.unparse(call.func.value) if method else None
        if owner in OTHERS and name == "open":
            return False
        place = 0 if method and name == "open" else 1
        mode = call.args[place] if len(call.args) > place else given.get("mode")
        return mode is None or "b" not in ast.unparse(mode)
    return "text" in given or "universal_newlines" in given  # subprocess


@pytest.mark.parametrize("file", FILES)
def test_every_text_file_is_opened_with_its_encoding(file):
    found = without_encoding((ROOT / file).read_text(encoding="utf-8"))
    assert not [f"line {call.lineno}: {ast.unparse(call)}" for call in found]


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("path.read_text(); path.write_text(text); path.open(); open(path, 'a')", 4),
        ("subprocess.run(command, text=True); os.fdopen(number, 'w')", 2),
        ("path.read_text('utf-8'); path.write_text(text, encoding='utf-8')", 0),
        ("open(path, 'rb'); path.open(mode='wb'); open(path, encoding='ascii')", 0),
        ("subprocess.run(command, encoding='utf-8'); tarfile.open(path)", 0),
    ],
)
def test_a_call_without_one_is_found(code, count):
    assert len(without_encoding(code)) == count
