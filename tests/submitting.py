"""A submission to the table of records, of a few runs, to be spoilt in tests."""

import json
import shutil
from pathlib import Path

import pytest
import submission_making
import submission_parts
import submissions

PLAN = {"first_seed": 1, "runs": 3, "peer_runs": 1, "at": "2026-11-26T04:00:00+00:00"}
TSV = "epoch\thours\ttop1Accuracy\n12\t{hours:.10f}\t{accuracy:.4f}\n"


def whole_runs(tmp_path):
    """A submission as `record.py` leaves it, of three runs of our recipe and one of the loop."""
    document = json.loads(
        (submissions.RECORDS.parent / "results/record-cpu_hardest-2026-11-26.json").read_text(
            encoding="utf-8"
        )
    )
    document["planned"], document["commit"] = [PLAN], 5 * "01234567"
    runs = document["runs"]["keras_dawn"] = document["runs"]["keras_dawn"][:3]
    # seed 2 has the median time
    own = tmp_path / "runs" / "seed2"
    own.mkdir(parents=True)
    entry = next(submissions.RECORDS.parent.glob("results/record-cpu_hardest-2026-11-26/*.json"))
    shutil.copy(entry, own)
    hours = runs[1]["dawnbench_seconds"] / 3600
    text = TSV.format(hours=hours, accuracy=runs[1]["accuracy_tta"])
    (own / entry.name).with_suffix(".tsv").write_text(text, encoding="utf-8")
    run = {
        "status": "finished",
        "seed": 2,
        "versions": document["versions"],
        "clocks": {"training": runs[1]["seconds"]},
        "hardware": document["hardware"],
        "settings": document["settings"],
        "data": {
            "name": "cifar10",
            "sha256": submission_parts.CIFAR10_SHA256,
            "train_images": 50_000,
            "test_images": 10_000,
        },
        "test_accuracy": runs[1]["accuracy_tta"],
        "epochs": [
            {
                "training_seconds": runs[1]["dawnbench_seconds"],
                "accuracy": runs[1]["accuracy_tta"],
            }
        ],
        "training_seconds": runs[1]["dawnbench_seconds"],
        "wall_seconds": runs[1]["dawnbench_seconds"] + 20,
        "prices": [
            {
                "usd_per_hour": 0.12751,
                "source": "somewhere",
                "kind": "on-demand",
                "cost_usd": 0.12751 * hours,
            }
        ],
    }
    (own / "run.json").write_text(json.dumps(run), encoding="utf-8")
    (tmp_path / "runs.json").write_text(json.dumps(document), encoding="utf-8")
    lines = [f"{name} {run}\n" for name, runs in document["runs"].items() for run in runs]
    (tmp_path / "log.txt").write_text("epoch 1\n".join(lines), encoding="utf-8")
    return tmp_path


def submit(folder):
    made = folder / "records" / "2026-11-26_mine"
    submission_making.make(
        made, folder / "runs.json", folder / "runs", folder / "log.txt", "Ada",
        {"keras_dawn": "ours", "airbench94, plain torch": "the loop"},
    )  # fmt: skip
    return made


def check_refused(whole, spoil, message):
    """A submission is refused with a message once `spoil` has changed or moved its folder."""
    made = submit(whole)
    moved = spoil(made)
    with pytest.raises(ValueError, match=message):
        submissions.read(moved if isinstance(moved, Path) else made)


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
