"""The course: every lesson runs, every check knows a right answer from a wrong one."""

import importlib
import json
import re
import runpy
from pathlib import Path

from keras_dawn.dawnbench.time_to_accuracy import EpochRecord

import numpy as np
import pytest
import torch

COURSE = Path(__file__).parents[2] / "recipes" / "course"
LESSONS = sorted(COURSE.glob("lesson*.py"))


def averages(losses, beta):
    """Exponential averages without the correction."""
    mean, means = 0.0, []
    for loss in losses:
        mean = beta * mean + (1 - beta) * loss
        means.append(mean)
    return means


def blocks(x, n):
    """Pooling that leaves out what is left over at the border."""
    height, width = x.shape[0] // n, x.shape[1] // n
    return x[: n * height, : n * width].reshape(n, height, n, width).mean((1, 3))


WRONG = {
    "momentum": {
        "torch_step": lambda w, v, g, rate, momentum: (w - rate * g, momentum * v + g),
        "keras_step": lambda w, v, g, rate, momentum: (w - rate * v, momentum * v + g),
        "steps_that_linger": lambda momentum, fraction: int(np.log(fraction) / np.log(momentum)),
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
    "time_to_accuracy": {
        "time_to_accuracy": lambda hours, accuracies, threshold: hours[int(np.argmax(accuracies))],
        "training_clock": lambda wall, validation: wall - validation,
        "cost": lambda seconds, usd, machines=1: seconds / 60 * usd * machines,
    },
    "range_test": {
        "smoothed": lambda losses, beta: averages(losses, beta),
        "steepest": lambda rates, losses: rates[int(np.argmin(losses))],
    },
    "one_cycle": {
        "one_cycle": lambda progress, top, div, tail: top / div,
        "momentum": lambda progress, high, low, tail: high - progress * (high - low),
    },
    "batch_rate_decay": {
        "scaled_rate": lambda rate, batch, new: rate * (new / batch) ** 0.5,
        "fraction_left": lambda rate, decay, steps, epochs: 1 - rate * decay * steps * epochs,
        "scaled_decay": lambda decay, batch, new, rate, new_rate: decay * new / batch,
    },
    "growing_images": {
        "adaptive_pool": lambda x, n: blocks(x, n),
        "relative_cost": lambda size, full: size / full,
        "relative_cost_of_plan": lambda plan, full: float(np.mean([(s / full) ** 2 for s in plan])),
    },
    "feeding": {
        "seconds_in_turn": lambda batches, load, step: batches * max(load, step),
        "seconds_overlapped": lambda batches, load, step: batches * max(load, step),
        "cores_needed": lambda gpu, core: gpu // core,
        "shrink": lambda crop, wanted: min(8, max(1, round(crop / wanted))),
    },
    "capstone": {
        "mended": lambda tsv: tsv.replace("time", "hours").replace("top1", "top1Accuracy"),
        "report": lambda accuracies, threshold: (
            np.mean(accuracies),
            np.std(accuracies),
            np.mean(np.array(accuracies) > threshold),
        ),
    },
    "as_pytorch": {
        "forward": lambda x, kernel, gamma, beta, mean, variance, head, bias: (
            torch.conv2d(x.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=1)
            .relu()
            .mean((2, 3))
            @ head
            + bias
        ),
        "fold": lambda conv_kernel, gamma, beta, mean, variance: (conv_kernel * gamma, beta),
    },
    "fine_tuning": {
        "group_rates": lambda rate, spread, groups: list(np.linspace(rate / spread, rate, groups)),
        "trained_groups": lambda epoch, head_epochs, groups: min(groups, 1 + epoch),
    },
    "falling_back": {
        "seconds_a_step": lambda plain, fraction, gain: plain / (fraction * gain + 1 - fraction),
        "shrink": lambda x, threshold: torch.where(x.abs() < threshold, 0.0, x),
    },
    "killed_training": {
        "order": lambda seed, epoch, count: np.random.default_rng(seed).permutation(count),
        "batches_left": lambda order, step, size: [
            order[start : start + size] for start in range(step, len(order), size)
        ],
    },
    "spot_machines": {
        "best_interval": lambda save, mean: (save * mean) ** 0.5,
        "cost_without_checkpoints": lambda hours, mean, usd: usd * hours,
    },
}


@pytest.fixture(autouse=True)
def course(monkeypatch):
    """The course's modules, in the mode for tests."""
    monkeypatch.syspath_prepend(str(COURSE))
    monkeypatch.setenv("COURSE_MODE", "short")


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
        text = path.read_text(encoding="utf-8")
        lesson = re.search(r"from checks import (\w+) as checks", text).group(1)
        asked = set(re.findall(r"checks\.check_(\w+)\(", text))
        assert asked == set(WRONG[lesson])


SLOW = {"lesson15_killed_training"}  # starts four processes, each with its own Keras


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path.stem in SLOW else [])
        for path in LESSONS
    ],
)
def test_a_lesson_runs_and_has_its_parts(path, monkeypatch, capsys):
    text = path.read_text(encoding="utf-8")
    for part in ("**You will**", "minutes", "**Before you run anything:**", "### Exercise 1",
                 "## The clock", "## Questions", "## Further reading", "figure\n"):  # fmt: skip
        assert part in text, part
    monkeypatch.chdir(COURSE)
    runpy.run_path(str(path), run_name="__main__")
    said = capsys.readouterr().out
    assert "its cost on" in said and "this page" in said
    assert said.count("replace the blanks") == text.count("checks.check_")


def test_a_folder_without_cifar10_is_an_error_and_no_folder_means_digits(
    monkeypatch, tmp_path, capsys
):
    classroom = importlib.import_module("classroom")
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="does not hold CIFAR-10"):
        classroom.load_images()
    monkeypatch.delenv("COURSE_DATA")
    images = classroom.load_images()
    assert f"192 images to train on: {images.name}" in capsys.readouterr().out


def test_strict_mode_takes_the_digits_of_which_the_pages_state_numbers(monkeypatch):
    classroom = importlib.import_module("classroom")
    monkeypatch.setattr(classroom, "load_cifar10", None)  # it is not even looked for
    monkeypatch.setattr(classroom, "MODE", "strict")
    monkeypatch.delenv("COURSE_DATA", raising=False)
    assert classroom.load_images().name == "digits"


def test_strict_mode_ends_with_an_error_where_a_number_does_not_hold(monkeypatch, capsys):
    classroom = importlib.import_module("classroom")
    monkeypatch.setattr(classroom, "SHORT", False)
    classroom.state("a ratio", 0.5, 0.4, 0.2)
    assert "as stated" in capsys.readouterr().out
    classroom.state("a ratio", 0.7, 0.4, 0.2)
    assert "NOT as stated" in capsys.readouterr().out
    monkeypatch.setattr(classroom, "MODE", "strict")
    with pytest.raises(ValueError, match="a ratio: 0.7, stated 0.4 ± 0.2"):
        classroom.state("a ratio", 0.7, 0.4, 0.2)


def test_the_time_to_a_target_is_that_of_the_first_epoch_at_it():
    classroom = importlib.import_module("classroom")
    epochs = [EpochRecord(n, 2.0 * n, 3.0 * n, a) for n, a in ((0, 50.0), (1, 96.0), (2, 94.0))]
    run = classroom.Run("a run", epochs, {}, None)
    assert (run.seconds_to(95), run.epochs_to(95), run.accuracy) == (2.0, 2, 94.0)
    assert run.seconds_to(97) is None and run.epochs_to(97) is None


def test_numbers_are_checked_with_every_seed(monkeypatch, tmp_path, capsys):
    build = importlib.import_module("build")
    lesson = tmp_path / "lesson99_even.py"
    lesson.write_text(
        "import os\n"
        "print('a number: 1 (this page: 1 ± 0)')\n"
        "if os.environ['COURSE_MODE'] == 'strict' and int(os.environ['COURSE_SEED']) % 2:\n"
        "    raise ValueError('odd')\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(build, "COURSE", tmp_path)
    assert build.check_numbers([0, 1, 2]) == [("lesson99_even", 1, "ValueError: odd")]
    assert build.main(["--seeds=0,2"]) == 0 and build.main(["--seeds=1"]) == 1
    with pytest.raises(SystemExit):
        build.main(["--seeds=one"])
    with pytest.raises(SystemExit):
        build.main(["98"])
    monkeypatch.setattr(build, "NEEDED", ("json", "no_such_module"))
    with pytest.raises(SystemExit):
        build.main([f"--output={tmp_path}"])
    errors = capsys.readouterr().err
    assert "there is no lesson 98" in errors and "no_such_module is missing: pip" in errors


def test_the_build_makes_a_site_with_pictures_and_reference(tmp_path):
    for module in ("jupytext", "mkdocs", "latex2mathml"):
        pytest.importorskip(module, reason="needs keras_dawn[course]")
    build = importlib.import_module("build")
    index = build.build(tmp_path, [2])
    assert "Write the model in Keras" in index.read_text(encoding="utf-8")
    migration = (tmp_path / "migration.html").read_text(encoding="utf-8")
    assert 'href="course/lesson02_momentum.html"' in migration
    recipes = (tmp_path / "recipes.html").read_text(encoding="utf-8")
    assert 'href="measured.html"' in recipes and 'href="evidence/record_log.html"' in recipes
    assert (tmp_path / "measured.html").is_file()
    name = "lesson02_momentum"
    notebook = json.loads((tmp_path / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    assert sum("image/png" in out.get("data", {}) for out in outputs) == 2
    text = "".join("".join(cell["source"]) for cell in notebook["cells"])
    assert "$v \\leftarrow m\\,v + g$" in text and "<math" not in text
    page = (tmp_path / "course" / f"{name}.html").read_text(encoding="utf-8")
    assert f"figures/{name}-1.png" in page and "<math" in page
    assert (tmp_path / "course" / "figures" / f"{name}-2.png").stat().st_size > 10_000
    reference = (tmp_path / "reference" / "schedules.html").read_text(encoding="utf-8")
    assert 'id="keras_dawn.schedules.OneCycle"' in reference
    assert "cifar10_record.py" in recipes
