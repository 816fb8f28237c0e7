"""Odd and forged submissions to the table of records: each is refused by name, and none crashes."""

import datetime
import math
import shutil

import pytest
import submissions

from tests.submitting import (
    PLAN,
    TSV,
    change,
    check_refused,
    series,
    submit,
    whole_runs,
    write_log,
)


@pytest.fixture
def whole(tmp_path):
    return whole_runs(tmp_path)


def without_seed_3(folder):
    """The slowest of the three is taken out of runs, plan and log, and not out of what was said."""
    said = (folder / "log.txt").read_text(encoding="utf-8")
    lines = [line for line in said.splitlines(keepends=True) if "'seed': 3" not in line]
    change(
        folder / "runs.json",
        lambda c: c.update(
            planned=[{**PLAN, "runs": 2}],
            command=["record.py", "--preset=cpu_hardest", "--seed=1"],
            runs={
                name: [run for run in runs if run["seed"] < 3] for name, runs in c["runs"].items()
            },
        ),
    )
    (folder / "log.txt").write_text("".join(lines), encoding="utf-8")


def edit_rows(*rows):
    """The entry's rows of hours and accuracies."""

    def edit(folder):
        (path,) = folder.glob("*.tsv")
        lines = [
            f"{at}\t{hours:.10f}\t{accuracy:.4f}\n" for at, (hours, accuracy) in enumerate(rows)
        ]
        path.write_text("epoch\thours\ttop1Accuracy\n" + "".join(lines), encoding="utf-8")

    return edit


LAST = (865.069148216 / 3600, 94.08)


def of_entry(edit):
    return lambda folder: [change(path, edit) for path in folder.glob("anonymous*.json")]


ODD = {
    "another preset in run.json": (
        lambda f: change(f / "run.json", lambda c: c.update(preset="cpu")),
        "run.json: preset must be cpu_hardest, got 'cpu'",
    ),
    "another preset in run.json's command": (
        lambda f: change(f / "run.json", lambda c: c.update(command=["record.py", "--preset=cpu"])),
        "run.json: --preset of its command must be cpu_hardest, got cpu",
    ),
    "another precision in run.json's command": (
        lambda f: change(
            f / "run.json", lambda c: c.update(command=["record.py", "--precision=mixed_bfloat16"])
        ),
        "run.json: --precision of its command must be float32, got mixed_bfloat16",
    ),
    "another plan in the command": (
        lambda f: change(f / "runs.json", lambda c: c["command"].append("--runs=9")),
        "the file of the runs: --runs of its command must be 3, got 9",
    ),
    "training seconds of another run": (
        lambda f: change(
            f / "run.json",
            lambda c: (
                c.update(training_seconds=9.0),
                c["prices"][0].update(cost_usd=0.12751 * 9 / 3600),
            ),
        ),
        "run.json: training_seconds must be 865.069148216, got 9.0",
    ),
    "an entry of another framework": (
        of_entry(lambda c: c.update(framework="keras_dawn 0.1.0, Keras 3.15.1, torch 9")),
        "the entry: framework must be keras_dawn 0.1.0, Keras 3.15.1, torch 2.14.1, got",
    ),
    "an entry of another network": (
        of_entry(lambda c: c.update(model="ResNet18")),
        "the entry: model must be WhitenedConvNet, got 'ResNet18'",
    ),
    "an entry of other settings": (
        of_entry(lambda c: c["misc"].update(epochs=2)),
        "the entry: epochs must be 12, got 2",
    ),
    "an entry of other versions": (
        of_entry(lambda c: c["misc"]["versions"].update(numpy="1.0")),
        "the entry: versions must be",
    ),
    "an entry of another command": (
        of_entry(lambda c: c["misc"].update(commandLine="record.py --seed=7")),
        "the entry: --seed of its command must be 1, got 7",
    ),
    "a seed that the plan in the log has": (
        without_seed_3,
        'log.txt must have "Planned: 2 runs .*" before its runs, has Planned: 3 runs of it and 1',
    ),
    "a log without a plan": (
        lambda f: (f / "log.txt").write_text(
            (f / "log.txt").read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8"
        ),
        'log.txt must have "Planned: 3 runs .* before its runs, has no plan',
    ),
    "a row of the entry at 94 % that no run had": (
        edit_rows((0.0001, 99.0), LAST),
        r"the entry: its rows before the last must be run.json's, got 99.0 % after 0.36 s",
    ),
    "a clock that is no number": (
        lambda f: change(
            f / "runs.json", lambda c: series(c)[0].update(dawnbench_seconds=math.nan)
        ),
        "seed 1: DAWNBench's clock, nan s, has the training in it",
    ),
    "a clock that ran in some runs only": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].pop("dawnbench_seconds")),
        "either all of its runs have dawnbench_seconds or none",
    ),
    "an accuracy without end": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(accuracy_tta=10**400)),
        "no seconds and percent",
    ),
    "an accuracy that is true": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(accuracy_tta=True)),
        "True.* are no seconds and percent",
    ),
    "a seed that is true": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(seed=True)),
        "a seed is a whole number",
    ),
    "no list of runs": (
        lambda f: change(f / "runs.json", lambda c: c["runs"].update(keras_dawn={"a": 1})),
        "keras_dawn: it must be a list of runs",
    ),
    "a moment that is none": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(ended="yesterday")),
        "must have ended at a moment with its time zone, got yesterday",
    ),
    "keys that lead nowhere": (
        lambda f: change(f / "about.json", lambda c: c["runs"].update(at=["command", 99])),
        "it cannot be read: IndexError",
    ),
    "no end of brackets": (
        lambda f: (f / "about.json").write_text("[" * 100_000, encoding="utf-8"),
        "it cannot be read: RecursionError",
    ),
    "a list": (
        lambda f: (f / "about.json").write_text("[1]", encoding="utf-8"),
        "about.json must have author, price, runs, series",
    ),
    "no versions": (
        lambda f: change(f / "runs.json", lambda c: c.update(versions=None)),
        "the file of the runs must have their versions",
    ),
    "a processor that adds a row": (
        lambda f: change(f / "runs.json", lambda c: c["hardware"].update(processor="A |\n| B")),
        "the hardware must have processor, cores and gpus .* in words for a table's cell",
    ),
    "less than no cores": (
        lambda f: change(f / "runs.json", lambda c: c["hardware"].update(cores=-4)),
        "the hardware must have processor, cores and gpus",
    ),
    "GPUs that did not train": (
        lambda f: change(f / "runs.json", lambda c: c["hardware"].update(gpus=["A", "B"])),
        "2 GPUs and 1 of them trained",
    ),
    "a GPU that the entry has not": (
        lambda f: change(f / "runs.json", lambda c: c["hardware"].update(gpus=["A100"])),
        "the entry: hardware must be 1 × A100, got 2 × AMD EPYC",
    ),
    "a GPU whose name begins like the entry's": (
        lambda f: (
            change(f / "runs.json", lambda c: c["hardware"].update(gpus=["A100"])),
            [
                change(path, lambda c: c.update(hardware="1 × A1000, 23 GiB memory"))
                for path in f.glob("anonymous*.json")
            ],
        ),
        "the entry: hardware must be 1 × A100, got 1 × A1000",
    ),
    "an author that is a link": (
        lambda f: change(f / "about.json", lambda c: c.update(author="[A](javascript:b)")),
        "words for a table's cell",
    ),
    "an author that is a page": (
        lambda f: change(f / "about.json", lambda c: c.update(author="<img src=a>")),
        "words for a table's cell",
    ),
    "an author without end": (
        lambda f: change(f / "about.json", lambda c: c.update(author="A" * 300)),
        "words for a table's cell, up to 200",
    ),
    "a lower price than the run's": (
        lambda f: change(f / "about.json", lambda c: c["price"].update(usd_per_hour=0.01)),
        "(?s)costPerHour must be about.json's price, 0.01, .*run.json: on-demand price must be",
    ),
    "half a price": (
        lambda f: change(f / "about.json", lambda c: c["price"].pop("source")),
        "`price` must be null or have usd_per_hour and source",
    ),
    "a cost that is not price times time": (
        lambda f: change(f / "run.json", lambda c: c["prices"][0].update(cost_usd=0.001)),
        "run.json: cost, price times time, must be 0.03",
    ),
    "a better accuracy everywhere but in run.json": (
        lambda f: change(f / "run.json", lambda c: c.update(test_accuracy=93.0)),
        "run.json: accuracy must be 94.08, got 93.0",
    ),
    "another time of DAWNBench's clock": (
        lambda f: change(f / "run.json", lambda c: c["epochs"][-1].update(training_seconds=9.0)),
        "run.json: DAWNBench's time must be 865",
    ),
    "swapped columns": (
        lambda f: [
            path.write_text(
                TSV.replace("hours\ttop1Accuracy", "top1Accuracy\thours").format(
                    hours=865.069148216 / 3600, accuracy=94.08
                ),
                encoding="utf-8",
            )
            for path in f.glob("*.tsv")
        ],
        r"the entry has 0.24\d* % after",
    ),
    "no text in the entry": (
        lambda f: [path.write_bytes(b"\xff\xfe") for path in f.glob("*.tsv")],
        "the entry: .*.tsv is no table of text",
    ),
    "no text in run.json": (
        lambda f: (f / "run.json").write_bytes(b"\xff\xfe"),
        "run.json cannot be read: UnicodeDecodeError",
    ),
    "a folder that breaks its link": (
        lambda f: f.rename(f.with_name("2026-11-26_my) | run")),
        "2026-11-26_WORDS, in letters, digits and ._-",
    ),
}


@pytest.mark.parametrize("fault", ODD)
def test_what_is_odd_in_a_submission_is_said(fault, whole):
    check_refused(whole, *ODD[fault])


def in_a_zone_far_east(ended):
    return ended.astimezone(datetime.timezone(datetime.timedelta(hours=20)))


def a_second_later(ended):
    return ended + datetime.timedelta(seconds=1)


@pytest.mark.parametrize("moved", [in_a_zone_far_east, a_second_later])
def test_a_run_counts_once_whenever_it_is_said_to_have_ended(moved, whole):
    made = submit(whole)
    other = made.with_name("2026-11-26_other")
    shutil.copytree(made, other)

    def move(content):
        for run in [run for runs in content["runs"].values() for run in runs]:
            run["ended"] = moved(datetime.datetime.fromisoformat(run["ended"])).isoformat()

    change(other / "runs.json", move)
    write_log(other)
    assert submissions.read(other)[0].ended.date().isoformat() == "2026-11-26"
    with pytest.raises(ValueError, match="2026-11-26_other: the run of"):
        submissions.read_all([made, other])


def test_columns_in_another_order_and_lines_of_windows_are_taken(whole):
    made = submit(whole)
    (path,) = made.glob("*.tsv")
    row = path.read_text(encoding="utf-8").split()[3:]
    text = "\t".join(("epoch", "top1Accuracy", "hours")) + "\r\n"
    path.write_bytes((text + "\t".join((row[0], row[2], row[1])) + "\r\n").encode())
    for name in ("about.json", "log.txt"):
        content = (made / name).read_bytes()
        (made / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert len(submissions.read(made)) == 2


@pytest.mark.parametrize("text", ["{}", "[]", '{"runs": {"keras_dawn": [5]}}', "{"])
def test_what_is_no_results_file_is_not_submitted(text, whole):
    (whole / "runs.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="runs.json is not a results file of record.py"):
        submit(whole)
