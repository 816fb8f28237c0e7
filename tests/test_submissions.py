"""What is wrong with a submission to the table of records is said, and nothing of it is taken."""

import datetime
import math

import pytest
import records_table
import submission_checks
import submission_making
import submission_parts
import submission_times
import submissions

from tests.submitting import (
    PLAN,
    change,
    check_refused,
    edit_tsv,
    series,
    submit,
    whole_runs,
    write_log,
)
from tests.test_records_table import OURS

BOTH = {"keras_dawn": "ours", "airbench94, plain torch": "the loop"}


@pytest.fixture
def whole(tmp_path):
    return whole_runs(tmp_path)


def test_a_submission_is_made_of_what_the_benchmark_leaves(whole):
    made = submit(whole)
    ours, _ = submissions.read(made)
    assert (ours.author, ours.name, len(ours.runs)) == ("Ada", "ours", 3)
    assert ours.ended == datetime.datetime(2026, 11, 26, 5, 47, 44, tzinfo=datetime.UTC)
    assert ours.usd_per_hour == 0.12751
    assert "ours ([submission](2026-11-26_mine/about.json))" in records_table.page([ours])
    assert "| 3, seeds 1 to 3 |" in records_table.page([ours])
    with pytest.raises(FileExistsError):
        submit(whole)


def in_minutes(folder):
    """All times but that of the clock on the wall."""

    def of_all(content):
        for run in [run for runs in content["runs"].values() for run in runs]:
            run.update({name: run[name] / 60 for name in run if name.endswith("seconds")})

    def of_one(content):
        content["clocks"]["training"] /= 60
        content.update(wall_seconds=885.07, training_seconds=content["training_seconds"] / 60)
        content["epochs"][-1]["training_seconds"] /= 60
        content["prices"][0]["cost_usd"] /= 60

    change(folder / "runs.json", of_all)
    change(folder / "run.json", of_one)
    edit_tsv(865.069148216 / 60 / 3600, 94.08)(folder)
    write_log(folder)


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
        "a price is 0.001 to 10,000 USD an hour, got inf",
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
    "no plan": (
        lambda f: change(f / "runs.json", lambda c: c.pop("planned")),
        "the number of runs is fixed before the first of them.* were planned as nothing",
    ),
    "a plan of after the first run": (
        lambda f: change(
            f / "runs.json", lambda c: c["planned"][0].update(at="2026-11-26T04:36:24+00:00")
        ),
        "before the first run, which began at 2026-11-26T04:36:21.*, got 2026-11-26T04:36:24",
    ),
    "a plan of nobody knows when": (
        lambda f: change(f / "runs.json", lambda c: c["planned"][0].pop("at")),
        "its plan must have been made at a moment before the first run.*, got None",
    ),
    "no commit": (
        lambda f: change(f / "runs.json", lambda c: c.update(commit=None)),
        "the commit of a checkout without changes, 40 hexadecimal digits, got None",
    ),
    "changes that no commit has": (
        lambda f: change(f / "runs.json", lambda c: c.update(commit=c["commit"] + "+")),
        r"the commit of a checkout without changes.*67\+",
    ),
    "minutes for seconds": (
        lambda f: change(f / "runs.json", lambda c: series(c)[1].update(seconds=863.7 / 60)),
        "keras_dawn, seed 2: 851 s of DAWNBench's clock lie before the training",
    ),
    "minutes for seconds everywhere": (
        in_minutes,
        r"run.json: of 885.07 s by the clock on the wall 14.39\d+ are the training's",
    ),
    "a training longer than its run": (
        lambda f: change(f / "run.json", lambda c: c.update(wall_seconds=800.0)),
        "run.json: of 800.0 s by the clock on the wall 863.7",
    ),
    "a run twice": (
        lambda f: change(
            f / "runs.json",
            lambda c: series(c)[1].update(
                {name: series(c)[0][name] for name in ("seconds", "accuracy_tta")}
            ),
        ),
        "keras_dawn: two of its runs have the same time and accuracy",
    ),
    "next to no price": (
        lambda f: change(f / "about.json", lambda c: c["price"].update(usd_per_hour=1e-6)),
        "a price is 0.001 to 10,000 USD an hour, got 1e-06",
    ),
    "another preset's name": (
        lambda f: change(
            f / "about.json", lambda c: c["series"].update(keras_dawn="--preset=cpu, float32")
        ),
        '"--preset=cpu, float32" says cpu of "keras_dawn", .*--preset=cpu_hardest',
    ),
    "another loop's name": (
        lambda f: change(
            f / "about.json",
            lambda c: c["series"].update({"airbench94, plain torch": "airbench94 with Muon"}),
        ),
        "says airbench94_muon of",
    ),
    "another precision's name": (
        lambda f: change(f / "about.json", lambda c: c["series"].update(keras_dawn="in bfloat16")),
        "says bfloat16 of",
    ),
    "another precision's short name": (
        lambda f: change(f / "about.json", lambda c: c["series"].update(keras_dawn="ours, bf16")),
        "says bfloat16 of",
    ),
    "another preset in words": (
        lambda f: change(
            f / "about.json", lambda c: c["series"].update(keras_dawn="preset `cpu` on two cores")
        ),
        "says cpu of",
    ),
    "another preset's name without the word": (
        lambda f: change(f / "about.json", lambda c: c["series"].update(keras_dawn="gpu_hiverge")),
        "says gpu_hiverge, hiverge of",
    ),
    "another table of convolutions": (
        lambda f: (
            change(f / "runs.json", lambda c: c.update(convolutions="amx 0123abcd")),
            change(f / "run.json", lambda c: c.update(convolutions="avx512_amd fb9fc251")),
        ),
        "run.json: convolutions must be amx 0123abcd, got 'avx512_amd fb9fc251'",
    ),
    "a note that is a link": (
        lambda f: change(f / "about.json", lambda c: c.update(note="[all](x)")),
        "`note` is words for a table's cell",
    ),
    "a longer name of a processor than the entry's": (
        lambda f: change(f / "runs.json", lambda c: c["hardware"].update(processor="AMD EPY")),
        "the entry: hardware must be 2 cores of AMD EPY, got 2 × AMD EPYC",
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
    with pytest.raises(ValueError, match="2026-11-26_mine: the run of .* s and .* % is one of"):
        submissions.read_all([OURS, made])


def begin_all(content):
    """Says when each run began, and that a second seed 2 was cut off."""
    content["begun"] = {
        name: [{"seed": run["seed"], "at": began(run)} for run in runs]
        for name, runs in content["runs"].items()
    }
    first = content["begun"]["keras_dawn"][1]
    content["begun"]["keras_dawn"].insert(1, {**first, "at": "2026-11-26T05:17:00+00:00"})


def began(run):
    ended = datetime.datetime.fromisoformat(run["ended"])
    return (ended - datetime.timedelta(seconds=run["seconds"] + 5)).isoformat(timespec="seconds")


def test_runs_that_were_cut_off_are_counted(whole):
    change(whole / "runs.json", begin_all)
    ours, loop = submissions.read(submit(whole))
    assert (ours.cut_off, loop.cut_off) == (1, 0)
    assert "| 3, seeds 1 to 3, 1 cut off |" in records_table.page([ours])


BEGUN_WRONG = {
    "nothing begun": (lambda c: c.update(begun=[]), "must have `begun`"),
    "a series without": (lambda c: c["begun"].pop("keras_dawn"), "must have `begun`"),
    "a run that was not begun": (
        lambda c: c["begun"]["keras_dawn"].pop(0),
        "seed 1: `begun` must have when it was begun",
    ),
    "a moment that is none": (
        lambda c: c["begun"]["keras_dawn"][0].update(at="then"),
        "seed 1: `begun` must have when it was begun",
    ),
    "a run longer than since its beginning": (
        lambda c: c["begun"]["keras_dawn"][0].update(at="2026-11-26T05:06:55+00:00"),
        "seed 1: it has 849.8 seconds of training, and ended 600 s after it was begun",
    ),
    "minutes for seconds": (
        lambda c: c["runs"]["airbench94, plain torch"][0].update(seconds=1535.4 / 60),
        "seed 1: it has 25.6 seconds of training, and ended 1541 s after it was begun",
    ),
}


@pytest.mark.parametrize("fault", BEGUN_WRONG)
def test_what_is_wrong_with_the_runs_that_were_begun_is_said(fault, whole):
    spoil, message = BEGUN_WRONG[fault]
    change(whole / "runs.json", begin_all)
    check_refused(whole, lambda f: change(f / "runs.json", spoil), message)


def test_runs_that_are_planned_since_are_not_taken_without_those_that_were_begun(
    whole, monkeypatch
):
    since = submission_times.moment("2026-11-26T03:59:59+00:00")
    monkeypatch.setattr(submission_times, "_COUNTED_SINCE", since)
    with pytest.raises(ValueError, match="must have `begun`, all that were begun, got None"):
        submit(whole)


def test_a_loop_that_was_left_out_before_its_first_run_was_finished_is_no_fault(whole):
    def left_out(content):
        begin_all(content)
        content["runs"]["hiverge, plain torch"] = []
        content["begun"]["hiverge, plain torch"] = [{"seed": 1, "at": PLAN["at"]}]

        documents.append(content)

    documents = []
    change(whole / "runs.json", left_out)
    assert len(submissions.read(submit(whole))) == 2
    documents[0]["runs"]["keras_dawn"] = []
    (fault,) = submission_times.faults_of_plan(documents[0])
    assert fault == "keras_dawn: 3 runs from seed 1 on were planned, its seeds are []"


@pytest.mark.parametrize("hardware", ["2 cores of AMD EPYC", "2 × AMD EPYC, 7.7 GiB memory"])
def test_entries_call_a_processor_in_either_way(hardware, whole):
    (path,) = (whole / "runs").rglob("anonymous*.json")
    change(path, lambda c: c.update(hardware=hardware))
    assert len(submissions.read(submit(whole))) == 2


def test_a_note_is_shown_in_the_row_of_the_first_series(whole):
    made = whole / "records" / "2026-11-26_mine"
    given = [whole / name for name in ("runs.json", "runs", "log.txt")]
    submission_making.make(made, *given, "Ada", {"keras_dawn": "ours"}, "Neighbours were loud")
    ours, loop = submissions.read(made)
    assert "about.json)). Neighbours were loud |" in records_table.page([ours])
    assert loop.note is None


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
        (BOTH, {"run_folder": "nowhere"}, "--folder=.*nowhere is not there"),
        (BOTH, {"run_folder": "empty"}, "empty must have one seed2/run.json, .* it has none"),
        (BOTH, {"log": "nowhere.txt"}, "--log=.*nowhere.txt is not there"),
        (BOTH, {"runs": "nowhere.json"}, "--runs=.*nowhere.json is not there"),
        (BOTH, {"runs": "log.txt"}, "log.txt is not a results file of record.py"),
    ],
)
def test_what_the_command_lacks_is_said_and_nothing_made(names, files, words, whole):
    made = whole / "records" / "2026-11-26_mine"
    (whole / "empty").mkdir()
    given = {"runs": "runs.json", "run_folder": "runs", "log": "log.txt", **files}
    given = {name: whole / file for name, file in given.items()}
    with pytest.raises((ValueError, OSError), match=words):
        submission_making.make(made, **given, author="Ada", names=names)
    assert not made.exists()
