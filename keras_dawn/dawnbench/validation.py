"""Checks an entry as DAWNBench's own test did, and more strictly."""

import csv
import itertools
import json
import math
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from keras_dawn.dawnbench.entry import CIFAR10
from keras_dawn.foundation.counted import counted

REQUIRED_KEYS = ("version", "author", "authorEmail", "framework", "model", "hardware", "timestamp")


@dataclass(frozen=True)
class Check:
    """The outcome of one check.

    Args:
        name: str.
        passed: bool.
        message: str, what was expected and found.
        official: bool, whether DAWNBench itself checked it.
    """

    name: str
    passed: bool
    message: str
    official: bool


def validate_entry(path, benchmark=CIFAR10):
    """Checks the pair of files of an entry.

    DAWNBench's eight checks (marked `official`): the pair is complete; the `.json` is an
    object; it has the required keys; its version is `v1.0`; its timestamp is a date; the
    `.tsv` has exactly the benchmark's columns; it has at least one row; an accuracy reaches
    the threshold. Ours: hours increase, accuracies are percentages, epochs increase, the
    price is a number from 0 up, the file name has its four parts.

    Args:
        path: path of either file.
        benchmark: `CIFAR10` or `IMAGENET`.

    Returns:
        list of `Check`. Where a file cannot be read, checks of its content are missing.

    Example:
        >>> [c.message for c in validate_entry("no_such_entry_x.json") if not c.passed][0]
        'no_such_entry_x.json and no_such_entry_x.tsv do not exist'
    """
    json_path = Path(path).expanduser().with_suffix(".json")
    tsv_path = json_path.with_suffix(".tsv")
    checks = []

    def check(name, passed, message, official=True):
        checks.append(Check(name, bool(passed), message, official))

    missing = [str(p) for p in (json_path, tsv_path) if not p.is_file()]
    verb = "does not exist" if len(missing) == 1 else "do not exist"
    check(
        "pair", not missing, " and ".join(missing) + f" {verb}" if missing else "both files exist"
    )
    parts = json_path.stem.split("_")
    check(
        "name",
        len(parts) == 4 and all(parts),
        f"{json_path.stem!r}: expected author_model_hardware_framework",
        official=False,
    )
    if json_path.is_file():
        _check_json(json_path, check)
    if tsv_path.is_file():
        _check_tsv(tsv_path, benchmark, check)
    return checks


def _check_json(path, check):
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        check("json", False, f"{path.name} is not JSON: {error}")
        return
    check("json", isinstance(description, dict), "the .json holds an object")
    if not isinstance(description, dict):
        return
    absent = [key for key in REQUIRED_KEYS if key not in description]
    check("keys", not absent, f"missing: {', '.join(absent)}" if absent else "all required keys")
    version = description.get("version")
    check("version", version == "v1.0", f"version is {version!r}, expected 'v1.0'")
    timestamp = description.get("timestamp")
    check("timestamp", _is_date(timestamp), f"timestamp is {timestamp!r}, expected YYYY-MM-DD")
    price = description.get("costPerHour", 0.0)
    # `true` is a number to Python and none in JSON.
    is_price = (
        isinstance(price, (int, float)) and not isinstance(price, bool) and 0 <= price < math.inf
    )
    check("price", is_price, f"costPerHour is {price!r}, expected USD from 0 up", official=False)


def _check_tsv(path, benchmark, check):
    try:
        with path.open(newline="", encoding="utf-8") as file:
            # Empty lines count for nothing, as in the benchmark's own test.
            lines = [line for line in csv.reader(file, delimiter="\t") if line]
        header, *rows = lines or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        check("columns", False, f"{path.name} is no table of text: {error}")
        return
    check(
        "columns",
        # In any order, as the benchmark's own test took them.
        sorted(header) == sorted(benchmark.columns),
        f"columns are {header}, expected {list(benchmark.columns)}",
    )
    check("rows", len(rows) > 0, f"{counted(len(rows), 'row')}, expected at least one")
    if sorted(header) != sorted(benchmark.columns) or not rows:
        return
    try:
        table = {
            name: [float(value) for value in column]
            for name, column in zip(header, zip(*rows, strict=True), strict=True)
        }
    except ValueError as error:
        check("numbers", False, f"a row is not made of {len(header)} numbers: {error}", False)
        return
    best = max(table[benchmark.metric])
    check(
        "threshold",
        best >= benchmark.threshold,
        f"best {benchmark.metric} is {best:g} %, the threshold {benchmark.threshold:g} %",
    )
    _check_table(table, check)


def _check_table(table, check):
    for name in ("hours", "epoch"):
        values = table[name]
        increasing = all(a < b for a, b in itertools.pairwise(values))
        check(
            name,
            increasing and values[0] >= 0 and math.isfinite(values[-1]),
            f"{name} must increase strictly from 0 or more",
            official=False,
        )
    percentages = [v for name in table if name.endswith("Accuracy") for v in table[name]]
    check(
        "accuracy",
        all(0 <= value <= 100 for value in percentages),
        f"accuracies run from {min(percentages):g} to {max(percentages):g}, expected percent",
        official=False,
    )


def _is_date(text):
    try:
        datetime.strptime(text, "%Y-%m-%d")
    except (TypeError, ValueError):
        return False
    return True
