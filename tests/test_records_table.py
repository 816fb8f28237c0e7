"""Table of records: submissions are consistent, the page is theirs, what is wrong is refused."""

import datetime
import math

import pytest
import records_table
import submissions

from tests import processes

OURS = submissions.RECORDS / "2026-11-26_two_cores_float32"


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
        return {**rest, "date": day, "came": day, "seconds": seconds, "94 %": told}

    rows = [row("2", 5.0, "not shown"), row("1", 9.0, "published"), row("3", 7.0, "shown")]
    lines = records_table._table(rows)
    assert [line.count("**") for line in lines] == [0, 0, 2, 0, 2]
    rows += [{**row("4", 8.0, "shown"), "clock": "another"}, row("4", 7.0, "shown")]
    rows += [{**row("5", 8.5, "shown"), "on": "another"}]
    assert [line.count("**") for line in records_table._table(rows)] == [0, 0, 2, 0, 2, 2, 0, 2]


def test_of_one_day_the_row_that_came_later_is_no_record_when_it_is_slower():
    machine = {"gpus": [], "cores": 2, "processor": "Xeon"}
    series = [
        submissions.Series(
            "f", "a", name, machine,
            [
                {"seed": n, "accuracy_tta": 94.1 + n / 100, "seconds": seconds, "ended": ended}
                for n in range(5)
            ],
            None,
        )
        for name, seconds, ended in (
            ("slow", 7.0, "2026-12-01T15:10:14+00:00"), ("fast", 5.0, "2026-12-01T04:39:42+00:00"),
        )
    ]  # fmt: skip
    lines = [line for line in records_table.page(series).splitlines() if "(f/about.json)" in line]
    assert ["fast" in line for line in lines] == [True, False]
    assert ["**" in line for line in lines] == [True, False]


def test_published_rows_say_where_they_are_published():
    for row in records_table._published():
        assert row["source"].startswith("https://") and row["seconds"] > 0
        assert row["mean"] is None or 94 <= row["mean"] < 100
        shown = records_table._published_row(row)
        assert shown["runs"] == row["runs"] if row["runs"] else shown["runs"] == "not stated"
        assert "2018" < row["date"] <= datetime.date.today().isoformat()
        assert row["hardware"].split(" × ")[0].isdecimal()


# By date and seconds: runs, mean, standard deviation and p, read again at their sources.
PUBLISHED = {
    ("2019-08-19", 34): (None, 94.1, None, None),
    ("2019-08-19", 26): (None, 94.1, None, None),
    ("2023-11-06", 6.3): (None, None, None, None),
    ("2024-03-20", 3.83): (1000, 94.01, None, None),
    ("2024-03-20", 3.29): (1000, 94.01, None, "< 0.0001"),
    ("2024-08-11", 3.09): (1000, 94.01, None, "< 0.0001"),
    ("2024-09-27", 2.73): (400, 94.05, None, None),
    ("2024-09-29", 2.67): (200, 94.04, None, None),
    ("2024-11-10", 2.59): (200, 94.01, None, None),
    ("2025-09-09", 2.095): (None, 94.01, None, None),
    ("2025-09-16", 2.03): (2000, 94.014, 0.131, "< 0.0001"),
    ("2025-09-30", 2.015): (2000, 94.008, 0.132, "0.0034"),
    ("2025-10-16", 1.99): (2000, 94.02, 0.131, "< 0.0001"),
}


def test_published_rows_have_the_numbers_of_their_sources():
    """A row that is new gets its line above, from its source and not from the file."""
    rows = {
        (row["date"], row["seconds"]): (row["runs"], row["mean"], row["deviation"], row["p"])
        for row in records_table._published()
    }
    assert rows == PUBLISHED


def test_fewer_than_five_runs_show_nothing():
    machine = {"gpus": [], "cores": 2, "processor": "Xeon"}
    ended = "2026-12-01T23:30:00+00:00"
    accuracies = (94.08, 94.1, 94.09, 94.11, 94.12)
    runs = [
        {"seed": seed, "accuracy_tta": accuracy, "seconds": 1.0, "ended": ended}
        for seed, accuracy in enumerate(accuracies)
    ]
    for count, told in ((2, "not shown"), (4, "not shown"), (5, "shown")):
        series = submissions.Series("f", "a", "n", machine, runs[:count], None)
        assert series.p_value < 0.05
        assert records_table._series_row(series)["94 %"] == told


def test_the_instructions_of_a_processor_are_shown_where_they_are_told():
    runs = [{"seed": 0, "accuracy_tta": 94.0, "seconds": 1.0, "ended": "2026-12-01T23:30:00+00:00"}]
    for instructions, on in (("AMX", "2 cores, Xeon (AMX)"), (None, "2 cores, Xeon")):
        machine = {"gpus": [], "cores": 2, "processor": "Xeon", "instructions": instructions}
        row = records_table._series_row(submissions.Series("f", "a", "n", machine, runs, None))
        assert row["on"] == on


def test_several_kinds_of_gpus_are_all_named():
    machine = {"gpus": ["A100", "A100", "H100"], "cores": 8, "processor": "Xeon"}
    runs = [{"seed": 0, "accuracy_tta": 94.0, "seconds": 1.0, "ended": "2026-12-01T23:30:00-02:00"}]
    row = records_table._series_row(submissions.Series("f", "a", "n", machine, runs, None))
    assert row["on"] == "2 × A100 + 1 × H100" and row["class"] == "Several GPUs"
    assert row["date"] == "2026-12-02"  # in UTC


@pytest.mark.slow
def test_flags_of_what_is_added_need_the_name(tmp_path):
    done = processes.run(records_table.__file__, f"--runs={tmp_path}", "--note=a", cwd=tmp_path)
    assert done.returncode == 1 and "--runs and --note need --add=NAME" in done.printed


@pytest.mark.slow
def test_a_submission_lies_in_the_folder_of_the_table(tmp_path):
    flags = [f"--{name}={tmp_path}" for name in ("runs", "folder", "log")]
    done = processes.run(records_table.__file__, "--add=../elsewhere", *flags, cwd=tmp_path)
    assert done.returncode == 1 and "must be the name of a folder in" in done.printed
