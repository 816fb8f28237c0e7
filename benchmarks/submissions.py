"""Runs that were submitted to the table of records, read and checked.

A submission is a folder of `benchmarks/records/`:

* `about.json`: `author`; `runs`, the results file of `record.py` (`file`, and `at`, the keys that
  lead to it in a larger file); `series`, what each series of runs in it is, none left out; `entry`,
  the DAWNBench entry's `.json` of the first series' median run; `price` (`usd_per_hour`, `source`)
  or `null`; perhaps a `note`, what a reader of the first row should know, such as neighbours or
  runs of other settings before; of those that are older than the table `lacks`, why a file is
  missing, and `derived`, what an entry was made of that the run did not write.
* `run.json` of that median run, and `log.txt`, what all runs printed.

The folder is called after the day of the last run, and has all of these files. The number of runs,
their mean, spread and p-value are computed from the runs and stated nowhere else. What is checked
is in `submission_checks.py`, `submission_times.py`, `submission_names.py` and
`submission_parts.py`.
"""

import dataclasses
import statistics
from pathlib import Path

from scipy import stats
from submission_checks import faults_of_name, read_documents
from submission_parts import faults_of_parts
from submission_times import cut_off, moment

RECORDS = Path(__file__).parent / "records"
TARGET = 94.0  # percent


@dataclasses.dataclass(frozen=True)
class Series:
    """The runs of one recipe or loop on one machine.

    Args:
        folder: str, the submission's name.
        author, name: str.
        hardware: dict, as `dawnbench.records.hardware` has it, and `instructions` where told.
        runs: list of dicts with `seed`, `ended`, `seconds`, `accuracy_tta`, and `dawnbench_seconds`
            where that clock ran.
        usd_per_hour: float or `None`.
        lacks: tuple of str, the files that its submission, older than the table, has not.
        cut_off: int, how many runs were begun and not finished, or `None` where it is not known.
        note: str or `None`, of the first series of a submission.
    """

    folder: str
    author: str
    name: str
    hardware: dict
    runs: list
    usd_per_hour: float | None
    lacks: tuple = ()
    cut_off: int | None = None
    note: str | None = None

    @property
    def mean(self):
        """Mean accuracy in percent, with several views."""
        return statistics.mean(run["accuracy_tta"] for run in self.runs)

    @property
    def deviation(self):
        """Standard deviation of the accuracies, or `None` of a single run."""
        return statistics.stdev(self._accuracies()) if len(self.runs) > 1 else None

    @property
    def p_value(self):
        """The chance of such a mean or a higher one if the true one were 94 %: Student's test.

        One-sided. `None` of a single run, and of runs that are all equal.
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
    def ended(self):
        """The moment at which the last run ended, in UTC."""
        return max(moment(run["ended"]) for run in self.runs)

    def _accuracies(self):
        return [run["accuracy_tta"] for run in self.runs]


def read(folder):
    """The `Series` of a submission.

    Raises:
        ValueError: all that is wrong with it, a line each.
    """
    folder = Path(folder)
    about, document, faults = read_documents(folder)
    for check in (faults_of_name, faults_of_parts) if not faults else ():
        faults += check(folder, about, document)
    if faults:
        raise ValueError("\n".join(f"{folder.name}: {fault}" for fault in faults))
    price = about["price"]["usd_per_hour"] if about["price"] else None
    hardware = {**document["hardware"], "instructions": document.get("instructions")}
    lacks = tuple(about.get("lacks") or ())
    return [
        Series(
            folder.name, about["author"], name, hardware, list(runs), price, lacks,
            cut_off(document, key), None if place else about.get("note"),
        )
        for place, (key, name) in enumerate(about["series"].items())
        for runs in [document["runs"][key]]
    ]  # fmt: skip


def read_all(folders):
    """The `Series` of several submissions.

    Raises:
        ValueError: what is wrong with one, or a run that two of them have.
    """
    found, whose = [], {}
    for folder in folders:
        for series in read(folder):
            found.append(series)
            for run in series.runs:
                same = whose.setdefault((run["seconds"], run["accuracy_tta"]), series)
                if same is not series:
                    raise ValueError(
                        f"{series.folder}: the run of {run['seconds']} s and "
                        f"{run['accuracy_tta']} % is one of {same.folder} already"
                    )
    return found
