"""What is wrong with a submission to the table of records is said, and nothing of it is taken."""

import math

import pytest
import records_table
import submission_checks
import submission_making
import submission_parts
import submissions

from tests.submitting import change, check_refused, edit_tsv, series, submit, whole_runs
from tests.test_records_table import OURS

BOTH = {"keras_dawn": "ours", "airbench94, plain torch": "the loop"}


@pytest.fixture
def whole(tmp_path):
    return whole_runs(tmp_path)


def test_a_submission_is_made_of_what_the_benchmark_leaves(whole):
    made = submit(whole)
    ours, _ = submissions.read(made)
    assert (ours.author, ours.name, ours.date, len(ours.runs)) == ("Ada", "ours", "2026-11-26", 3)
    assert ours.usd_per_hour == 0.12751
    assert "ours ([submission](2026-11-26_mine/about.json))" in records_table.page([ours])
    assert "| 3, seeds 1 to 3 |" in records_table.page([ours])
    with pytest.raises(FileExistsError):
        submit(whole)


PLAN = {"first_seed": 1, "runs": 3, "peer_runs": 1, "at": "2026-11-26T04:00:00+00:00"}


def test_a_submission_of_all_runs_that_were_planned_is_taken(whole):
    change(whole / "runs.json", lambda content: content.update(planned=[PLAN]))
    assert len(submissions.read(submit(whole))) == 2


WRONG = {
    "a seed left out": (
        lambda f: change(f / "runs.json", lambda c: series(c)[2].update(seed=9)),
        r"seeds must follow each other.*\[1, 2, 9\]",
    ),
    "a series left out": (
        lambda f: change(f / "about.json", lambda c: c["series"].popitem()),
        "`series` must name all series",
    ),
    "an accuracy of another number of images": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(accuracy_tta=94.123)),
        "94.123 % is no number of 10,000 test images",
    ),
    "no number for an accuracy": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(accuracy_tta=math.nan)),
        "no seconds and percent",
    ),
    "a run without a moment": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].pop("ended")),
        "seed 1: it must have ended",
    ),
    "a run of tomorrow's tomorrow": (
        lambda f: change(
            f / "runs.json", lambda c: series(c)[2].update(ended="3026-11-26T05:47:44+00:00")
        ),
        "must have ended at a moment.*got 3026",
    ),
    "a run that takes longer than there was time": (
        lambda f: change(
            f / "runs.json", lambda c: series(c)[2].update(ended="2026-11-26T05:32:48+00:00")
        ),
        "seed 3: it took 887.4 s and ended 40 s after the run before it",
    ),
    "a training longer than the clock around it": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(dawnbench_seconds=800.0)),
        "DAWNBench's clock, 800.0 s, has the training in it",
    ),
    "no series": (
        lambda f: (
            change(f / "runs.json", lambda c: c.update(runs={"keras_dawn": []})),
            change(f / "about.json", lambda c: c.update(series={})),
        ),
        "`series` must name all series",
    ),
    "another machine's hardware": (
        lambda f: change(f / "runs.json", lambda c: c["hardware"].pop("gpus")),
        "the hardware must have processor, cores and gpus",
    ),
    "an author that breaks the table": (
        lambda f: change(f / "about.json", lambda c: c.update(author="A | B")),
        r"words for a table's cell, .*got 'A \| B'",
    ),
    "files elsewhere": (
        lambda f: change(f / "about.json", lambda c: c["runs"].update(file="../runs.json")),
        r"its files lie in its folder, \.\./runs.json does not",
    ),
    "a folder of another day": (
        lambda f: f.rename(f.with_name("2026-11-25_mine")),
        "called after the day of its last run, 2026-11-26_WORDS",
    ),
    "an interrupted run": (
        lambda f: change(f / "run.json", lambda c: c.update(status="interrupted")),
        "status must be finished",
    ),
    "images of one's own": (
        lambda f: change(f / "run.json", lambda c: c["data"].update(sha256="0" * 64)),
        "the data's SHA-256 must be 6b3883",
    ),
    "another version of torch": (
        lambda f: change(f / "run.json", lambda c: c["versions"].update(torch="1.0")),
        "run.json: versions must be",
    ),
    "a price without end": (
        lambda f: change(f / "about.json", lambda c: c["price"].update(usd_per_hour=math.inf)),
        "a price is USD an hour above 0, got inf",
    ),
    "a part of the data": (
        lambda f: change(f / "runs.json", lambda c: c["settings"].update(train_images=1000)),
        "some of the images only",
    ),
    "an accuracy that is a fraction of 200": (
        lambda f: change(f / "runs.json", lambda c: series(c)[0].update(accuracy_tta=188.0)),
        "no seconds and percent",
    ),
    "an entry of another time": (edit_tsv(0.2, 94.08), r"has 94.08 % after 720.00 s.*seed 2"),
    "an entry of another accuracy": (
        edit_tsv(865.069148216 / 3600, 94.9),
        r"the entry has 94.9 % after 865.07 s.*seed 2",
    ),
    "no log": (lambda f: (f / "log.txt").unlink(), "log.txt is missing"),
    "a log of other runs": (
        lambda f: (f / "log.txt").write_text("epoch 1", encoding="utf-8"),
        "log.txt lacks the lines of keras_dawn, seeds 1, 2, 3",
    ),
    "a run in the log that was left out": (
        lambda f: (f / "log.txt").write_text(
            (f / "log.txt").read_text(encoding="utf-8")
            + "keras_dawn {'seed': 0, 'ended': '2026-11-26T04:00:00+00:00', 'seconds': 850.0}\n",
            encoding="utf-8",
        ),
        r"log.txt has runs that the file of the runs lacks: keras_dawn \{'seed': 0",
    ),
    "fewer runs than were planned": (
        lambda f: change(f / "runs.json", lambda c: c.update(planned=[{**PLAN, "runs": 5}])),
        r"keras_dawn: 5 runs from seed 1 on were planned, its seeds are \[1, 2, 3\]",
    ),
    "runs that were added when some were known": (
        lambda f: change(f / "runs.json", lambda c: c.update(planned=[PLAN, {**PLAN, "runs": 5}])),
        r"were planned as \(1, 3, 1\), then \(1, 5, 1\)",
    ),
    "a lack that is too late": (
        lambda f: (
            (f / "log.txt").unlink(),
            change(f / "about.json", lambda c: c.update(lacks={"log.txt": "lost"})),
        ),
        "(?s)`lacks` is for the runs that are older.*log.txt is missing",
    ),
    "an entry that was made later": (
        lambda f: change(f / "about.json", lambda c: c.update(derived={"entry": "made"})),
        "`derived` is for the runs that are older than the table",
    ),
    "a run on another machine": (
        lambda f: change(f / "run.json", lambda c: c["hardware"].update(cores=64)),
        "run.json: hardware must be",
    ),
    "a run on other data": (
        lambda f: change(f / "run.json", lambda c: c["data"].update(test_images=500)),
        "run.json: test images must be 10000",
    ),
    "an unknown key": (
        lambda f: change(f / "about.json", lambda c: c.update(mean=95.0)),
        "about.json must have author, price, runs, series",
    ),
    "a price without a source": (
        lambda f: change(f / "about.json", lambda c: c["price"].update(source=" ")),
        "words for a table's cell, .*got ' '",
    ),
    "no runs": (lambda f: (f / "runs.json").unlink(), "it cannot be read"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_a_submission_is_said(fault, whole):
    check_refused(whole, *WRONG[fault])


def test_what_is_older_than_the_table_may_lack_log_and_run_but_no_entry(whole, monkeypatch):
    for checks in (submission_checks, submission_parts):
        monkeypatch.setattr(checks, "OLDER", ("2026-11-26_mine",))
    made = submit(whole)
    lacks = {"run.json": "lost", "log.txt": "lost"}
    change(made / "about.json", lambda c: c.update(lacks=lacks))
    with pytest.raises(ValueError, match="(?s)run.json is there.*log.txt is there"):
        submissions.read(made)
    for name in lacks:
        (made / name).unlink()
    ours, _ = submissions.read(made)
    assert "about.json), without run.json and log.txt)" in records_table.page([ours])
    change(made / "about.json", lambda c: c["lacks"].update(entry="lost"))
    next(made.glob("anonymous*.json")).unlink()
    with pytest.raises(ValueError, match="entry is missing"):
        submissions.read(made)


def test_a_run_counts_once_in_the_whole_table(whole):
    """The submission is of runs that one of ours has."""
    made = submit(whole)
    assert len(submissions.read_all([made])) == 2
    with pytest.raises(ValueError, match="2026-11-26_mine: the run that ended at .* is one of"):
        submissions.read_all([OURS, made])


def test_runs_on_some_of_the_images_are_refused_for_that_and_not_for_a_missing_entry(whole):
    change(whole / "runs.json", lambda content: content["settings"].update(train_images=1024))
    next((whole / "runs" / "seed2").glob("*_*.json")).unlink()  # record.py writes none then
    with pytest.raises(ValueError, match="on some of the images only"):
        submit(whole)


def test_a_submission_that_is_wrong_is_not_made(whole):
    change(whole / "runs.json", lambda content: series(content)[2].update(seed=9))
    with pytest.raises(ValueError, match="seeds must follow"):
        submit(whole)
    assert not (whole / "records" / "2026-11-26_mine").exists()


@pytest.mark.parametrize(
    "names, files, words",
    [
        ({"mine": "ours"}, {}, 'runs.json: `series` must name all .* "keras_dawn", .*"mine"'),
        (BOTH, {"run_folder": "nowhere"}, "nowhere must have one seed2/run.json, .* it has none"),
        (BOTH, {"log": "nowhere.txt"}, "nowhere.txt"),
        (BOTH, {"runs": "log.txt"}, "log.txt is not a results file of record.py"),
    ],
)
def test_what_the_command_lacks_is_said_and_nothing_made(names, files, words, whole):
    made = whole / "records" / "2026-11-26_mine"
    given = {"runs": "runs.json", "run_folder": "runs", "log": "log.txt", **files}
    given = {name: whole / file for name, file in given.items()}
    with pytest.raises((ValueError, OSError), match=words):
        submission_making.make(made, **given, author="Ada", names=names)
    assert not made.exists()
