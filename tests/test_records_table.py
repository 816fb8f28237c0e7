"""The table of records: all submissions are right, the page is theirs, what is wrong is refused."""

import json
import math
import shutil

import pytest
import records_table
import submissions

OURS = submissions.RECORDS / "2026-11-26_two_cores_float32"
TSV = "epoch\thours\ttop1Accuracy\n12\t{hours:.10f}\t{accuracy:.4f}\n"


def test_the_page_is_that_of_the_submissions():
    assert records_table.PAGE.read_text(encoding="utf-8") == records_table.page(
        records_table.submitted()
    ), "run benchmarks/records_table.py"


def test_the_p_value_is_students():
    """Two runs: t has one degree of freedom, whose tail is known in closed form."""
    runs = [{"accuracy_tta": 94.0 + x, "seconds": 1.0} for x in (0.1, 0.3)]
    two = submissions.Series("", "", "", {}, runs, None)
    assert two.mean == pytest.approx(94.2)
    t = 0.2 / (two.deviation / math.sqrt(2))
    assert two.p_value == pytest.approx(0.5 - math.atan(t) / math.pi)
    assert submissions.Series("", "", "", {}, runs[:1], None).p_value is None


def test_our_first_row_is_what_was_measured():
    ours, loop = submissions.read(OURS)
    assert (len(ours.runs), round(ours.mean, 2), round(ours.seconds, 1)) == (5, 94.22, 876.1)
    assert ours.cost == pytest.approx(877.446 / 3600 * 0.12751, rel=1e-5)
    assert len(loop.runs) == 1 and loop.seconds / ours.seconds == pytest.approx(1 / 0.571, rel=1e-3)


def test_only_rows_of_which_94_percent_is_shown_are_records():
    def row(day, seconds, told):
        rest = dict.fromkeys(("who", "what", "on", "clock", "runs", "accuracy", "p", "USD"), "")
        return {**rest, "date": day, "seconds": seconds, "94 %": told}

    lines = records_table._table(
        [row("2", 5.0, "not shown"), row("1", 9.0, "published"), row("3", 7.0, "shown")]
    )
    assert [line.count("**") for line in lines] == [0, 0, 2, 0, 2]


@pytest.fixture
def whole(tmp_path):
    """A submission as `record.py` leaves it, of three runs of our recipe and one of the loop."""
    document = json.loads(
        (submissions.RECORDS.parent / "results/record-cpu_hardest-2026-11-26.json").read_text(
            encoding="utf-8"
        )
    )
    runs = document["runs"]["keras_dawn"][:3]  # seed 2 has the median time
    for run in runs:
        run["ended"] = "2027-01-01T00:00:00+00:00"
    document["runs"]["keras_dawn"] = runs
    own = tmp_path / "runs" / "seed2"
    own.mkdir(parents=True)
    entry = next(submissions.RECORDS.parent.glob("results/record-cpu_hardest-2026-11-26/*.json"))
    shutil.copy(entry, own)
    hours = runs[1]["dawnbench_seconds"] / 3600
    text = TSV.format(hours=hours, accuracy=runs[1]["accuracy_tta"])
    (own / entry.name).with_suffix(".tsv").write_text(text, encoding="utf-8")
    run = {
        "seed": 2,
        "clocks": {"training": runs[1]["seconds"]},
        "hardware": document["hardware"],
        "settings": document["settings"],
        "data": {"name": "cifar10", "train_images": 50_000, "test_images": 10_000},
        "prices": [{"usd_per_hour": 0.1, "source": "somewhere", "kind": "on-demand"}],
    }
    (own / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (tmp_path / "runs.json").write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "log.txt").write_text("epoch 1\n", encoding="utf-8")
    return tmp_path


def submit(folder):
    made = folder / "records" / "2027-01-01_mine"
    records_table.add(
        made, folder / "runs.json", folder / "runs", folder / "log.txt", "Ada",
        {"keras_dawn": "ours", "airbench94, plain torch": "the loop"},
    )  # fmt: skip
    return made


def test_a_submission_is_made_of_what_the_benchmark_leaves(whole):
    made = submit(whole)
    ours, _ = submissions.read(made)
    assert (ours.author, ours.name, ours.date, len(ours.runs)) == ("Ada", "ours", "2027-01-01", 3)
    assert ours.usd_per_hour == 0.1
    assert "ours ([submission](2027-01-01_mine/about.json))" in records_table.page([ours])
    with pytest.raises(FileExistsError):
        submit(whole)


def change(path, edit):
    content = json.loads(path.read_text(encoding="utf-8"))
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def series(content):
    return content["runs"]["keras_dawn"]


def edit_tsv(hours, accuracy):
    def edit(folder):
        (path,) = folder.glob("*.tsv")
        path.write_text(TSV.format(hours=hours, accuracy=accuracy), encoding="utf-8")

    return edit


WRONG = {
    "a seed left out": (
        lambda f: change(f / "runs.json", lambda c: series(c)[2].update(seed=9)),
        r"seeds must follow each other.*\[1, 2, 9\]",
    ),
    "a series left out": (
        lambda f: change(f / "about.json", lambda c: c["series"].popitem()),
        "`series` must name all series",
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
    "an empty log": (lambda f: (f / "log.txt").write_bytes(b""), "log.txt is empty"),
    "a lack that is too late": (
        lambda f: (
            (f / "log.txt").unlink(),
            change(f / "about.json", lambda c: c.update(lacks={"log.txt": "lost"})),
        ),
        "no more allowed for runs that ended after",
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
        "a price is USD an hour",
    ),
    "no runs": (lambda f: (f / "runs.json").unlink(), "it cannot be read"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_a_submission_is_said(fault, whole):
    made = submit(whole)
    spoil, message = WRONG[fault]
    spoil(made)
    with pytest.raises(ValueError, match=message):
        submissions.read(made)


def test_a_submission_that_is_wrong_is_not_made(whole):
    change(whole / "runs.json", lambda content: series(content)[2].update(seed=9))
    with pytest.raises(ValueError, match="seeds must follow"):
        submit(whole)
    assert not (whole / "records" / "2027-01-01_mine").exists()
