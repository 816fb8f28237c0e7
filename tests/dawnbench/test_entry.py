import json
from datetime import date

from keras_dawn.dawnbench import CIFAR10, IMAGENET, Entry, validate_entry, write_entry
from keras_dawn.dawnbench.time_to_accuracy import EpochRecord

import pytest


def entry(**changes):
    arguments = {
        "author": "Ada L.",
        "author_email": "ada@example.org",
        "framework": "keras_dawn",
        "model": "WRN-22-6",
        "hardware": "1 × V100",
        "tags": ("Ada L.", "wrn_22_6", "1xV100", "keras_dawn"),
        "timestamp": date(2026, 11, 23),
        "cost_per_hour": 3.06,
        "misc": {"batchSize": 512},
    }
    return Entry(**{**arguments, **changes})


def epochs(*accuracies, top5=None):
    return [
        EpochRecord(epoch, 36.0 * (epoch + 1), 40.0 * (epoch + 1), accuracy, top5)
        for epoch, accuracy in enumerate(accuracies)
    ]


def failed(path, benchmark=CIFAR10):
    return {check.name for check in validate_entry(path, benchmark) if not check.passed}


def test_the_pair_is_what_the_benchmark_asks_for(tmp_path):
    path = write_entry(tmp_path, entry(), epochs(50.0, 94.03))
    assert path.name == "Ada-L._wrn-22-6_1xV100_keras-dawn.json"
    assert path.with_suffix(".tsv").read_text(encoding="utf-8") == (
        "epoch\thours\ttop1Accuracy\n1\t0.0100000000\t50.0000\n2\t0.0200000000\t94.0300\n"
    )
    description = json.loads(path.read_text(encoding="utf-8"))
    assert description["version"] == "v1.0" and description["timestamp"] == "2026-11-23"
    assert description["costPerHour"] == 3.06 and description["misc"] == {"batchSize": 512}
    assert failed(path) == set()


def test_imagenet_entries_have_both_accuracies(tmp_path):
    path = write_entry(tmp_path, entry(), epochs(70.0, 75.7, top5=93.1), IMAGENET)
    header = path.with_suffix(".tsv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "epoch\thours\ttop1Accuracy\ttop5Accuracy"
    assert failed(path, IMAGENET) == set()


def test_eight_checks_are_the_benchmarks_own(tmp_path):
    path = write_entry(tmp_path, entry(), epochs(94.03))
    assert sum(check.official for check in validate_entry(path)) == 8


def test_a_price_left_out_is_no_fault(tmp_path):
    assert failed(write_entry(tmp_path, entry(cost_per_hour=None), epochs(94.03))) == set()


def test_nothing_is_overwritten(tmp_path):
    write_entry(tmp_path, entry(), epochs(94.03))
    with pytest.raises(FileExistsError, match="not overwritten"):
        write_entry(tmp_path, entry(), epochs(95.0))


def test_an_entry_needs_an_epoch(tmp_path):
    with pytest.raises(ValueError, match="at least one"):
        write_entry(tmp_path, entry(), [])


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda d: d.pop("hardware"), "keys"),
        (lambda d: d.update(version="v1.1"), "version"),
        (lambda d: d.update(timestamp="23.11.2026"), "timestamp"),
        (lambda d: d.update(timestamp=20261123), "timestamp"),
        (lambda d: d.update(costPerHour="3.06"), "price"),
        (lambda d: d.update(costPerHour=-1), "price"),
    ],
)
def test_faults_of_the_json_are_found(tmp_path, change, fault):
    path = write_entry(tmp_path, entry(), epochs(94.03))
    description = json.loads(path.read_text(encoding="utf-8"))
    change(description)
    path.write_text(json.dumps(description), encoding="utf-8")
    assert failed(path) == {fault}


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_what_is_no_json_object_is_found(tmp_path, content):
    path = write_entry(tmp_path, entry(), epochs(94.03))
    path.write_text(content, encoding="utf-8")
    assert failed(path) == {"json"}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("epoch\thours\ttop1\n1\t0.1\t94.5\n", "columns"),
        ("epoch\thours\ttop1Accuracy\textra\n1\t0.1\t94.5\t1\n", "columns"),
        ("epoch,hours,top1Accuracy\n1,0.1,94.5\n", "columns"),
        ("", "columns"),
        ("epoch\thours\ttop1Accuracy\n", "rows"),
        ("epoch\thours\ttop1Accuracy\n1\t0.1\t93.99\n", "threshold"),
        ("epoch\thours\ttop1Accuracy\n1\t0.1\t0.94\n", "threshold"),
        ("epoch\thours\ttop1Accuracy\n1\t0.2\t90\n2\t0.2\t95\n", "hours"),
        ("epoch\thours\ttop1Accuracy\n1\t-0.2\t95\n", "hours"),
        ("epoch\thours\ttop1Accuracy\n2\t0.1\t90\n1\t0.2\t95\n", "epoch"),
        ("epoch\thours\ttop1Accuracy\n1\t0.1\t9500\n", "accuracy"),
        ("epoch\thours\ttop1Accuracy\n1\tsoon\t95\n", "numbers"),
        ("epoch\thours\ttop1Accuracy\n1\t0.1\n", "numbers"),
    ],
)
def test_faults_of_the_tsv_are_found(tmp_path, content, fault):
    path = write_entry(tmp_path, entry(), epochs(94.03))
    path.with_suffix(".tsv").write_text(content, encoding="utf-8")
    faults = failed(path)
    assert fault in faults and len(faults) <= 2  # a file without rows fails for both


def test_a_missing_half_is_found(tmp_path):
    path = write_entry(tmp_path, entry(), epochs(94.03))
    path.with_suffix(".tsv").unlink()
    assert failed(path) == {"pair"}


def test_a_name_without_its_four_parts_is_found(tmp_path):
    path = write_entry(tmp_path, entry(), epochs(94.03))
    for suffix in (".json", ".tsv"):
        path.with_suffix(suffix).rename(tmp_path / f"myrun{suffix}")
    assert failed(tmp_path / "myrun.tsv") == {"name"}


def test_without_top_5_there_is_no_entry_to_imagenet(tmp_path):
    with pytest.raises(ValueError, match='top5="val_top5"'):
        write_entry(tmp_path, entry(), epochs(70.0, 75.7), IMAGENET)
    assert not list(tmp_path.iterdir())


def test_what_json_does_not_know_leaves_no_half_of_an_entry(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_entry(tmp_path, entry(misc={"rate": object()}), epochs(94.03))
    assert not list(tmp_path.iterdir())


def test_empty_lines_of_the_tsv_count_for_nothing(tmp_path):
    path = write_entry(tmp_path, entry(), epochs(94.03))
    table = path.with_suffix(".tsv")
    table.write_text(table.read_text(encoding="utf-8") + "\n\n", encoding="utf-8")
    assert failed(path) == set()
