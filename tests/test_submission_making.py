"""A submission to the table of records is made of what `record.py` has left."""

import dataclasses
import datetime
import functools
import json
import shutil
from pathlib import Path

from keras_dawn.data import cifar10_batches

import pytest
import records_table
import submission_making
import submission_parts
import submissions

from recipe_parts import record_presets
from tests import processes
from tests.submitting import change, submit, whole_runs

RECORD = Path(records_table.__file__).parent / "record.py"


@pytest.fixture
def whole(tmp_path):
    return whole_runs(tmp_path)


@pytest.mark.parametrize(
    "flags", [["--preset=cpu"], ["--preset", "cpu"], ["-preset=a", "--preset=cpu"]]
)
def test_series_are_told_by_command_and_settings(flags):
    document = {
        "command": ["record.py", *flags, "--runs=2"],
        "settings": {"precision": "mixed_bfloat16"},
        "runs": {
            "keras_dawn": [{}],
            "airbench94, plain torch": [{}],
            "hiverge, plain torch, float32": [{}],
            "airbench94_muon, plain torch": [],
        },
    }
    assert submission_making.told_names(document) == {
        "keras_dawn": "`cifar10_record.py --preset=cpu`, bfloat16",
        "airbench94, plain torch": "airbench94 as a plain torch loop, bfloat16",
        "hiverge, plain torch, float32": "hiverge as a plain torch loop, float32",
    }


def test_a_preset_that_a_file_of_flags_may_have_is_told_by_the_results_file_alone():
    document = {"settings": {"precision": "float16"}, "runs": {"keras_dawn": [{}]}}
    for command, more, told in (
        ([], {}, " --preset=cpu"),
        (["--flagfile=F"], {}, ""),
        (["--flagfile=F"], {"preset": "gpu"}, " --preset=gpu"),
        (["--flagfile", "F", "--preset=gpu"], {}, " --preset=gpu"),
    ):
        names = submission_making.told_names({**document, "command": command, **more})
        assert names == {"keras_dawn": f"`cifar10_record.py{told}`, float16"}


def test_series_need_no_name_of_ones_own(whole):
    made = whole / "records" / "2026-11-26_mine"
    files = [whole / name for name in ("runs.json", "runs", "log.txt")]
    submission_making.make(made, *files, "Ada", {"keras_dawn": "ours"})
    names = [series.name for series in submissions.read(made)]
    assert names == ["ours", "airbench94 as a plain torch loop, float32"]


def test_folders_and_files_of_the_machine_are_not_told(whole):
    places = {"data_dir": whole / "möre data", "json": whole / "runs.json", "output_dir": whole}

    def with_places(command):
        return [*command, *(f"--{name}={path}" for name, path in places.items())]

    own = whole / "runs" / "seed2"
    (entry,) = own.glob("anonymous*.json")
    change(entry, lambda c: c["misc"].update(commandLine=" ".join(with_places(["record.py"]))))
    for path in (whole / "runs.json", own / "run.json"):
        change(path, lambda c: c.update(command=with_places(["record.py", "--preset=cpu_hardest"])))
    with (whole / "log.txt").open("a", encoding="utf-8") as log:
        log.write(f"Run folder: {own}\nfrom {places['data_dir']}\n")
    made = submit(whole)
    texts = {path.name: path.read_text(encoding="utf-8") for path in made.iterdir()}
    assert not [name for name, text in texts.items() if str(whole) in text or "re data" in text]
    said = ["--data_dir=FOLDER", "--json=FILE", "--output_dir=FOLDER"]
    for name in ("runs.json", "run.json"):
        assert json.loads(texts[name])["command"] == ["record.py", "--preset=cpu_hardest", *said]
    assert json.loads(texts[entry.name])["misc"]["commandLine"] == " ".join(["record.py", *said])
    assert texts["log.txt"].endswith("Run folder: FOLDER/runs/seed2\nfrom FOLDER\n")


@pytest.mark.parametrize(
    "text, told",
    [
        ("https://a/data/c and https://data/c", "https://a/data/c and https://data/c"),
        ("/more/data/x ./data ~/data ../data", "/more/data/x ./data ~/data ../data"),
        ("/data2 /data-3 /data.tar", "/data2 /data-3 /data.tar"),
        ("--data_dir=/data/ '/data/a' (/data).", "--data_dir=FOLDER/ 'FOLDER/a' (FOLDER)."),
        ('"a\\n/data/b"\n/data. file:///data', '"a\\nFOLDER/b"\nFOLDER. file://FOLDER'),
    ],
)
def test_a_path_that_has_a_place_in_its_middle_is_left_as_it_is(text, told):
    for place in ("/data", "/data/"):
        assert submission_making.without_places(text, ["record.py", f"--data_dir={place}"]) == told


@pytest.mark.parametrize("place", [".", "runs", "/"])
def test_a_place_that_is_no_whole_path_is_left_as_it_is(place):
    text = "a run. its runs / all"
    assert submission_making.without_places(text, ["record.py", f"--json={place}"]) == text


def test_places_of_the_sitting_of_the_median_run_are_not_told(whole):
    """The results file has the command of the last sitting, which other folders were given to."""
    command = ["record.py", "--preset=cpu_hardest", "--data_dir=/first/sitting"]
    change(whole / "runs" / "seed2" / "run.json", lambda c: c.update(command=command))
    made = submit(whole)
    told = json.loads((made / "run.json").read_text(encoding="utf-8"))["command"]
    assert told == [*command[:2], "--data_dir=FOLDER"]


def test_runs_of_several_sittings_may_lie_in_several_folders(whole):
    (whole / "runs").rename(whole / "moved")
    (whole / "runs").mkdir()
    (whole / "moved").rename(whole / "runs" / "record21_call1")
    (whole / "runs" / "record1_call1" / "seed2").mkdir(parents=True)  # cut off: it has no run.json
    assert len(submissions.read(submit(whole))) == 2
    shutil.copytree(whole / "runs" / "record21_call1", whole / "runs" / "another")
    shutil.rmtree(whole / "records")
    with pytest.raises(OSError, match="must have one seed2/run.json"):
        submit(whole)


def test_runs_that_another_submission_has_are_not_added_and_leave_nothing(whole):
    first = submit(whole)
    other = first.with_name("2026-11-26_again")
    files = [whole / name for name in ("runs.json", "runs", "log.txt")]
    with pytest.raises(ValueError, match="the run of .* is one of 2026-11-26_mine already"):
        submission_making.make(other, *files, "Ada", {})
    assert list(first.parent.iterdir()) == [first]
    with pytest.raises(FileExistsError, match="2026-11-26_mine is a submission already: take"):
        submission_making.make(first, *files, "Ada", {})


def a_whole_run_of_few_images(md5s):
    """In the process of `record.py`: `smoke` trains on all of CIFAR-10, which has 100 images."""
    cifar10_batches.BATCH_MD5.update(md5s)
    smoke = record_presets.PRESETS["smoke"]
    record_presets.PRESETS["smoke"] = dataclasses.replace(
        smoke, train_images=None, test_images=None, batch_size=20
    )


@pytest.mark.slow
def test_what_the_benchmark_has_written_is_taken(tiny_cifar10, tmp_path, monkeypatch):
    """`record.py` itself, two runs of the smoke preset; only counts of its files are changed."""
    flags = ["--preset=smoke", "--runs=2", "--peer_runs=0", f"--data_dir={tiny_cifar10}"]
    flags += [f"--json={tmp_path / 'runs.json'}", f"--output_dir={tmp_path / 'runs'}"]
    flags += ["--price_per_hour=0.1", "--price_source=a test"]
    prepare = functools.partial(a_whole_run_of_few_images, dict(cifar10_batches.BATCH_MD5))
    done = processes.run(RECORD, *flags, cwd=tmp_path, prepare=prepare)
    assert done.returncode == 0, done.printed
    (tmp_path / "log.txt").write_text(done.printed, encoding="utf-8")
    for path in (tmp_path / "runs").glob("seed*/run.json"):
        data = json.loads(path.read_text(encoding="utf-8"))["data"]
        assert (data["train_images"], data["test_images"]) == (100, 20)
        monkeypatch.setattr(submission_parts, "CIFAR10_SHA256", data["sha256"])
        change(path, lambda c: c["data"].update(train_images=50_000, test_images=10_000))
    # The checkout that is tested may have changes.
    change(tmp_path / "runs.json", lambda c: c.update(commit=5 * "01234567"))
    made = tmp_path / "records" / f"{datetime.datetime.now(datetime.UTC).date()}_smoke"
    files = [tmp_path / name for name in ("runs.json", "runs", "log.txt")]
    submission_making.make(made, *files, "Ada", {})
    (series,) = submissions.read(made)
    assert series.name.startswith("`cifar10_record.py --preset=smoke`, ")
    assert [run["seed"] for run in series.runs] == [0, 1] and series.usd_per_hour == 0.1
    assert series.cut_off == 0
    for path in made.iterdir():
        assert str(tmp_path) not in path.read_text(encoding="utf-8"), path.name
