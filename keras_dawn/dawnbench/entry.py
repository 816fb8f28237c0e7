"""DAWNBench entries: a `.json` that describes the system and a `.tsv` with its epochs."""

import json
import re
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from keras_dawn.foundation.files import utf8


@dataclass(frozen=True)
class Benchmark:
    """One of DAWNBench's two training benchmarks.

    Args:
        name: str, its folder in the benchmark's repository.
        metric: name of the accuracy that counts.
        threshold: percent that must be reached.
        columns: columns of the `.tsv`, in order.
    """

    name: str
    metric: str
    threshold: float
    columns: tuple


CIFAR10 = Benchmark("CIFAR10/train", "top1Accuracy", 94.0, ("epoch", "hours", "top1Accuracy"))
IMAGENET = Benchmark(
    "ImageNet/train", "top5Accuracy", 93.0, ("epoch", "hours", "top1Accuracy", "top5Accuracy")
)


@dataclass(frozen=True)
class Entry:
    """The description of a run, as DAWNBench's `.json` wants it.

    Args:
        author: str.
        author_email: str.
        framework: str, such as `"keras_dawn 0.1.0 (Keras 3.15.1, torch 2.11.0)"`.
        model: str.
        hardware: str, the machine's type included.
        tags: `(author, model, hardware, framework)`, short names for the file name.
        timestamp: `datetime.date`.
        cost_per_hour: on-demand USD per hour of all machines together, or `None`. DAWNBench
            does not take spot prices.
        misc: dict with optimizer, schedule, batch size and whatever repeats the run.
        code_url: str or `None`.
        used_blacklist: bool, of ImageNet: whether the 1,762 validation photos of the devkit's
            blacklist were evaluated on too; `None` for other sets.
    """

    author: str
    author_email: str
    framework: str
    model: str
    hardware: str
    tags: tuple
    timestamp: date = field(default_factory=date.today)
    cost_per_hour: float | None = None
    misc: dict = field(default_factory=dict)
    code_url: str | None = None
    used_blacklist: bool | None = None

    def basename(self):
        """`author_model_hardware_framework`, the common name of the two files."""
        return "_".join(_tag(tag) for tag in self.tags)

    def as_json(self):
        """The `.json` as a dict."""
        description = {
            "version": "v1.0",
            "author": self.author,
            "authorEmail": self.author_email,
            "framework": self.framework,
            "codeURL": self.code_url,
            "model": self.model,
            "hardware": self.hardware,
            "costPerHour": self.cost_per_hour,
            "usedBlacklist": self.used_blacklist,
            "timestamp": self.timestamp.strftime("%Y-%m-%d"),
            "logFilename": f"{self.basename()}.tsv",
            "misc": self.misc,
        }
        return {key: value for key, value in description.items() if value is not None}


def write_entry(directory, entry, records, benchmark=CIFAR10):
    """Writes the pair of files.

    Args:
        directory: folder to write into; it must exist.
        entry: `Entry`.
        records: list of `EpochRecord` from `TimeToAccuracy`; the training clock counts.
        benchmark: `CIFAR10` or `IMAGENET`.

    Returns:
        `Path` of the `.json`; the `.tsv` lies beside it.

    Raises:
        ValueError: no epochs to write, or for ImageNet one without a top-5 accuracy.
        TypeError: `misc` holds what JSON does not know.
        FileExistsError: one of the files exists; nothing is overwritten.
    """
    if not records:
        raise ValueError("There are no validated epochs to write: an entry needs at least one.")
    json_path = Path(directory).expanduser() / f"{entry.basename()}.json"
    tsv_path = json_path.with_suffix(".tsv")
    for path in (json_path, tsv_path):
        if path.exists():
            raise FileExistsError(f"{path} exists; it is not overwritten.")
    if "top5Accuracy" in benchmark.columns and any(r.top5_accuracy is None for r in records):
        raise ValueError(
            f"An entry to {benchmark.name} has a top-5 accuracy in each epoch: name the metric to "
            '`TimeToAccuracy`, as in top5="val_top5".'
        )
    description = json.dumps(entry.as_json(), indent=2, ensure_ascii=False) + "\n"
    lines = ["\t".join(benchmark.columns)]
    for record in records:
        values = {
            # Epochs count from 1 in entries, and hours have digits enough for a step of a
            # millisecond.
            "epoch": str(record.epoch + 1),
            "hours": f"{record.training_seconds / 3600:.10f}",
            "top1Accuracy": f"{record.accuracy:.4f}",
        }
        if "top5Accuracy" in benchmark.columns:
            values["top5Accuracy"] = f"{record.top5_accuracy:.4f}"
        lines.append("\t".join(values[column] for column in benchmark.columns))
    # The table first: whoever finds the `.json` finds the pair.
    tsv_path.write_bytes(utf8("\n".join(lines) + "\n"))
    json_path.write_bytes(utf8(description))
    return json_path


def _tag(text):
    """Letters, digits, dots and hyphens only: the underscore separates the four tags."""
    return re.sub(r"[^A-Za-z0-9.+-]+", "-", text).strip("-") or "unknown"
