import subprocess
import sys
from pathlib import Path

import pytest

from recipe_parts import command_line
from tests import processes

RECIPES = Path(__file__).parents[2] / "recipes"


def called(recipe, *arguments, folder):
    return subprocess.run(
        [sys.executable, str(RECIPES / f"{recipe}.py"), *arguments],
        capture_output=True,
        encoding="utf-8",
        cwd=folder,
    )


@pytest.mark.parametrize(
    "recipe, arguments, words",
    [
        ("cifar10_wrn", ["epochs=3"], "Not a flag: epochs=3"),
        pytest.param(
            "cifar10_record",
            ["--target=nan"],
            "--target must be a finite number",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "compare", ["--tune=0.1,nan"], "--tune must have finite rates", marks=pytest.mark.slow
        ),
    ],
)
def test_what_is_no_flag_is_said_before_anything_is_done(recipe, arguments, words, tmp_path):
    done = called(recipe, *arguments, folder=tmp_path)
    assert done.returncode == 1 and words in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) == 2 and not done.stdout  # not below a page of flags
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_a_run_that_fails_at_once_leaves_no_folder(tmp_path):
    (tmp_path / "checkpoints").write_text("a file in the way", encoding="utf-8")
    flags = ["--preset=smoke", "--dataset=digits", "--checkpoints=checkpoints"]
    done = processes.run(RECIPES / "cifar10_wrn.py", *flags, cwd=tmp_path)
    assert done.returncode != 0 and "checkpoints" in done.printed
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


def test_help_lists_the_flags_of_a_recipes_parts(tmp_path):
    done = processes.run(RECIPES / "cifar10_wrn.py", "--help", cwd=tmp_path)
    assert done.returncode == 0
    for flag in ("--preset", "--epochs", "--target", "--[no]tta", "--checkpoints"):
        assert flag in done.printed


def test_ctrl_c_ends_a_recipe_in_a_line(monkeypatch, capsys):
    def main(argv):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["a_recipe.py"])
    with pytest.raises(SystemExit) as ended:
        command_line.run(main)
    assert ended.value.code == 130 and capsys.readouterr().err == "Interrupted.\n"
