"""Runs that were submitted to the table of records, read and checked.

A submission is a folder of `benchmarks/records/`:

* `about.json`: `author`; `runs`, the results file of `record.py` (`file`, and `at`, the keys that
  lead to it in a larger file); `series`, what each series of runs in it is, none left out; `entry`,
  the DAWNBench entry's `.json` of the first series' median run; `price` (`usd_per_hour`, `source`)
  or `null`; `lacks`, why a file is missing, for runs older than the table only.
* `run.json` of that median run, and `log.txt`, what all runs printed.

All paths are relative to the folder. The number of runs, their mean, spread and p-value are
computed from the runs and stated nowhere else.
"""

import dataclasses
import json
import math
import statistics
from pathlib import Path

from keras_dawn.dawnbench import validate_entry

from scipy import stats

RECORDS = Path(__file__).parent / "records"
TARGET = 94.0  # percent
BEGAN = "2026-11-27"  # runs that ended later lack nothing
PARTS = ("entry", "run.json", "log.txt")
KEYS = {"author", "runs", "series", "price"}


@dataclasses.dataclass(frozen=True)
class Series:
    """The runs of one recipe or loop on one machine.

    Args:
        folder: str, the submission's name.
        author, name: str.
        hardware: dict, as `dawnbench.records.hardware` has it.
        runs: list of dicts with `seed`, `ended`, `seconds`, `accuracy_tta`, and `dawnbench_seconds`
            where that clock ran.
        usd_per_hour: float or `None`.
    """

    folder: str
    author: str
    name: str
    hardware: dict
    runs: list
    usd_per_hour: float | None

    @property
    def mean(self):
        """Mean accuracy in percent, with six views."""
        return statistics.mean(run["accuracy_tta"] for run in self.runs)

    @property
    def deviation(self):
        """Standard deviation of the accuracies, or `None` of a single run."""
        return statistics.stdev(self._accuracies()) if len(self.runs) > 1 else None

    @property
    def p_value(self):
        """Of such a mean if the true one were below 94 %: Student's test, one-sided.

        `None` of a single run, and of runs that are all equal.
        """
        if not self.deviation:
            return None
        return float(stats.ttest_1samp(self._accuracies(), TARGET, alternative="greater").pvalue)

    @property
    def seconds(self):
        """Median time of training."""
        return statistics.median(run["seconds"] for run in self.runs)

    @property
    def cost(self):
        """USD by the median time of DAWNBench's clock, or of training, or `None`."""
        if self.usd_per_hour is None:
            return None
        seconds = [run.get("dawnbench_seconds", run["seconds"]) for run in self.runs]
        return statistics.median(seconds) / 3600 * self.usd_per_hour

    @property
    def date(self):
        """The day on which the last run ended."""
        return max(run["ended"] for run in self.runs)[:10]

    def _accuracies(self):
        return [run["accuracy_tta"] for run in self.runs]


def read(folder):
    """The `Series` of a submission.

    Raises:
        ValueError: all that is wrong with it, a line each.
    """
    folder = Path(folder)
    about, document, faults = _documents(folder)
    if not faults:
        faults = [*_faults_of_runs(about, document), *_faults_of_parts(folder, about, document)]
    if faults:
        raise ValueError("\n".join(f"{folder.name}: {fault}" for fault in faults))
    price = about["price"]["usd_per_hour"] if about["price"] else None
    return [
        Series(folder.name, about["author"], name, document["hardware"], list(runs), price)
        for key, name in about["series"].items()
        for runs in [document["runs"][key]]
    ]


def median_run(runs):
    """The run of median time; of an even number the slower of the two in the middle."""
    return sorted(runs, key=lambda run: run.get("dawnbench_seconds", run["seconds"]))[
        len(runs) // 2
    ]


def _documents(folder):
    """What `about.json` and the file of the runs hold, and what is wrong with them."""
    about = document = None
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        unknown = about.keys() - KEYS - {"entry", "lacks"}
        if not about.keys() >= KEYS or unknown:
            needed = ", ".join(sorted(KEYS))
            return about, None, [f"about.json must have {needed}; it has {', '.join(about)}"]
        if about["price"] and not (
            about["price"]["usd_per_hour"] > 0 and about["price"]["source"].strip()
        ):
            return about, None, ["a price is USD an hour above 0, with its source"]
        path = folder / about["runs"]["file"]
        document = json.loads(path.read_text(encoding="utf-8"))
        for key in about["runs"].get("at", []):
            document = document[key]
        for part in ("command", "versions", "hardware", "settings", "runs"):
            document[part]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return about, None, [f"it cannot be read: {error!r}"]
    return about, document, []


def _faults_of_runs(about, document):
    if about["series"].keys() != {name for name, runs in document["runs"].items() if runs}:
        yield (
            f"`series` must name all series of the runs, {', '.join(document['runs'])}; it names "
            f"{', '.join(about['series'])}"
        )
        return
    if document["settings"].get("train_images") or document["settings"].get("test_images"):
        yield "it is trained or tested on some of the images only"
    for name in about["series"]:
        runs = document["runs"][name]
        seeds = sorted(run["seed"] for run in runs)
        if seeds != list(range(seeds[0], seeds[0] + len(seeds))):
            yield f"{name}: seeds must follow each other, none left out or repeated; got {seeds}"
        for run in runs:
            numbers = (run["seconds"], run["accuracy_tta"])
            if not (all(map(math.isfinite, numbers)) and numbers[0] > 0 and 0 <= numbers[1] <= 100):
                yield f"{name}, seed {run['seed']}: {numbers} are no seconds and percent"


def _faults_of_parts(folder, about, document):
    """What is wrong with the entry, the run's `run.json` and the log."""
    lacks, first = about.get("lacks", {}), document["runs"][next(iter(about["series"]))]
    late = max(run["ended"] for run in first)[:10] > BEGAN
    median = median_run(first)
    for part in PARTS:
        path = folder / (about.get("entry", "no entry") if part == "entry" else part)
        if path.is_file():
            yield from _CHECKS[part](path, median, document)
        elif part not in lacks:
            yield f"{part} is missing"
        elif late:
            yield f"{part} is missing, which is no more allowed for runs that ended after {BEGAN}"


def _faults_of_entry(path, median, document):
    for check in validate_entry(path):
        # A single run may miss what the mean of all reaches.
        if not check.passed and check.name != "threshold":
            yield f"the entry: {check.message}"
            return
    last = path.with_suffix(".tsv").read_text(encoding="utf-8").strip().split("\n")[-1].split("\t")
    hours, accuracy = float(last[1]), float(last[2])
    same_time = math.isclose(3600 * hours, median["dawnbench_seconds"], rel_tol=1e-6)
    if not same_time or not math.isclose(accuracy, median["accuracy_tta"], abs_tol=1e-4):
        yield (
            f"the entry has {accuracy} % after {3600 * hours:.2f} s; the median run, seed "
            f"{median['seed']}, has {median['accuracy_tta']} % after "
            f"{median['dawnbench_seconds']:.2f} s"
        )


def _faults_of_run(path, median, document):
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        found = {
            "seed": (run["seed"], median["seed"]),
            "training time": (run["clocks"]["training"], median["seconds"]),
            "hardware": (run["hardware"], document["hardware"]),
            "settings": (run["settings"], document["settings"]),
            "training images": (run["data"]["train_images"], 50_000),
            "test images": (run["data"]["test_images"], 10_000),
            "data": (run["data"]["name"], "cifar10"),
        }
    except (ValueError, KeyError, TypeError) as error:
        yield f"run.json is no run's: {error!r}"
        return
    for name, (here, expected) in found.items():
        if here != expected:
            yield f"run.json: {name} must be {expected} as of the median run, got {here}"


def _faults_of_log(path, median, document):
    if not path.read_text(encoding="utf-8", errors="replace").strip():
        yield "log.txt is empty"


_CHECKS = {"entry": _faults_of_entry, "run.json": _faults_of_run, "log.txt": _faults_of_log}
