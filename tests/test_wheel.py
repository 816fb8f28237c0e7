"""The package as it is installed: built, and used outside the repository."""

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import keras_dawn

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*command, cwd, **variables):
    unset = ("PYTHONPATH", "KERAS_BACKEND")
    environment = {key: value for key, value in os.environ.items() if key not in unset} | variables
    return subprocess.run(
        list(map(str, command)), capture_output=True, encoding="utf-8", cwd=cwd, env=environment
    )


def test_the_changelog_begins_with_this_version():
    text = (ROOT / ".github" / "CHANGELOG.md").read_text(encoding="utf-8")
    (first, *_) = re.findall(r"^## (\d+\.\d+\.\d+)", text, re.MULTILINE)
    assert first == keras_dawn.__version__


def test_the_version_stands_in_one_file():
    places = [*ROOT.glob("*.toml"), *(ROOT / "keras_dawn").rglob("*.py")]
    stated = re.compile(rf'^(__version__|version) = "{re.escape(keras_dawn.__version__)}"', re.M)
    found = [path.name for path in places if stated.search(path.read_text(encoding="utf-8"))]
    assert found == ["_version.py"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel that `python -m build` makes: from the source distribution, as for a release."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "keras_dawn", source / "keras_dawn", ignore=ignored)
    done = run(sys.executable, "-m", "build", "--no-isolation", source, cwd=source.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((source / "dist").glob("*.tar.gz"))) == 1
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    assert wheel.name == f"keras_dawn-{keras_dawn.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = [name for name in names if name.endswith("METADATA")]
        described = archive.read(metadata).decode()
    package = ROOT / "keras_dawn"
    paths = [*package.rglob("*.py"), *package.rglob("*.json")]
    files = {path.relative_to(ROOT).as_posix() for path in paths}
    assert files <= set(names)
    assert {name.split("/")[0] for name in names} == {"keras_dawn", metadata.split("/")[0]}
    assert "Requires-Python: >=3.11" in described
    assert re.search(r"Requires-Dist: array_record;.*platform_system != .Windows.", described)


@pytest.mark.slow
def test_it_works_outside_the_repository(wheel, tmp_path):
    home = tmp_path / "venv"
    venv.create(home, symlinks=os.name != "nt")
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    done = run(*pip, wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (own,) = home.glob("**/site-packages")
    # What it depends on is taken from here: nothing is downloaded.
    others = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (own / "dependencies.pth").write_text("\n".join(others), encoding="utf-8")
    empty = tmp_path / "empty"
    empty.mkdir()
    example = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    (empty / "example.py").write_text(f"{example}\nprint(keras_dawn.__file__)", encoding="utf-8")
    done = run(python, "example.py", cwd=empty)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.splitlines()[-1]).is_relative_to(home)
