"""The course: every lesson runs, every check knows a right answer from a wrong one."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COURSE = Path(__file__).parent.parent / "recipes" / "course"
LESSONS = sorted(COURSE.glob("lesson*.py"))
WRONG = {
    "momentum": {
        "torch_step": lambda w, v, g, rate, momentum: (w - rate * g, momentum * v + g),
        "keras_step": lambda w, v, g, rate, momentum: (w - rate * v, momentum * v + g),
        "steps_that_linger": lambda momentum, share: int(np.log(share) / np.log(momentum)),
    },
    "half_precision": {
        "largest_lost_update": lambda bits: 2.0**-bits,
        "scaled_step": lambda w, gradient_of, rate, scale: (
            np.float32(w) - np.float32(rate) * np.float32(gradient_of(w, scale) / np.float16(scale))
        ),
        "next_scale": lambda scale, overflowed, good, every: scale / 2 if overflowed else scale,
    },
    "data_parallel": {
        "combine": lambda gradients, sizes: gradients.mean(0),
        "warmed_up": lambda rate, processes, step, warm_up: rate * processes * step / warm_up,
    },
    "spot_machines": {
        "best_interval": lambda save, mean: (save * mean) ** 0.5,
        "cost_without_checkpoints": lambda hours, mean, usd: usd * hours,
    },
}


@pytest.fixture(autouse=True)
def course_path(monkeypatch):
    monkeypatch.syspath_prepend(str(COURSE))


def exercises():
    return [(lesson, name) for lesson, answers in WRONG.items() for name in answers]


@pytest.mark.parametrize(("lesson", "name"), exercises())
def test_a_check_knows_right_from_wrong(lesson, name, capsys):
    check = getattr(importlib.import_module(f"checks.{lesson}"), f"check_{name}")
    solution = getattr(importlib.import_module(f"solutions.{lesson}"), name)
    assert check(solution) is True
    assert f"✓ {name} is right" in capsys.readouterr().out

    def blank(*arguments):
        return ...

    def broken(*arguments):
        raise KeyError("a slip")

    assert check(blank) is False
    assert "replace the blanks" in capsys.readouterr().out
    assert check(broken) is False
    assert "KeyError" in capsys.readouterr().out
    assert check(WRONG[lesson][name]) is False
    hint = capsys.readouterr().out
    assert "is not right yet" in hint and "replace" not in hint


def test_every_exercise_has_a_solution_and_a_wrong_answer():
    for path in LESSONS:
        text = path.read_text()
        lesson = re.search(r"from checks import (\w+) as checks", text).group(1)
        asked = set(re.findall(r"checks\.check_(\w+)\(", text))
        assert asked == set(WRONG[lesson])


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_lesson_runs_and_has_its_parts(path):
    text = path.read_text()
    for part in ("**You will**", "minutes", "**Before you run anything:**", "### Exercise 1",
                 "## Questions", "## Further reading", "figure\n"):  # fmt: skip
        assert part in text, part
    done = subprocess.run(
        [sys.executable, path], cwd=COURSE, capture_output=True, text=True, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("replace the blanks") == text.count("checks.check_")


def test_the_build_makes_pages_with_pictures(tmp_path):
    pytest.importorskip("jupytext", reason="needs keras_dawn[course]")
    build = importlib.import_module("build")
    (page,) = build.build(tmp_path, [2])
    notebook = json.loads((tmp_path / f"{page.stem}.ipynb").read_text())
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    assert sum("image/png" in out.get("data", {}) for out in outputs) == 2
    assert "<h1" in page.read_text() and "data:image/png;base64" in page.read_text()
    assert page.name in (tmp_path / "index.html").read_text()
