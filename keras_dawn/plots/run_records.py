"""What a run folder says, read for pictures and pages."""

import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace


@dataclass(frozen=True)
class RunRecords:
    """A run folder's files.

    Args:
        path: `Path` of the folder.
        document: dict of `run.json`; empty where there is none.
        rows: list of dicts of `history.csv`, numbers where it has numbers.
        name: str, the folder's name, after those of folders around it where others have the same.
    """

    path: Path
    document: dict
    rows: list
    name: str

    @property
    def epochs(self):
        """The validated epochs: `accuracy` in percent, `training_seconds`, …"""
        return [SimpleNamespace(**record) for record in self.document.get("epochs", ())]

    def pictures(self):
        """The pictures in the folder, `Path`s."""
        return sorted(p for p in self.path.iterdir() if p.suffix.lower() in (".png", ".jpg"))


def read_run(path):
    """Reads a run folder, also one of a run that goes on or was killed.

    Raises:
        FileNotFoundError: no folder, or one with neither `run.json` nor `history.csv`.
        ValueError: a `run.json` that is not valid JSON, or holds something else than a run's does.
    """
    path = Path(path).expanduser()
    run, history = path / "run.json", path / "history.csv"
    if not run.is_file() and not history.is_file():
        raise FileNotFoundError(
            f"{path} is no run folder: it has neither run.json nor history.csv."
        )
    document, rows = {}, []
    # A run that goes on, or was killed, has a history and no run.json yet.
    if run.is_file():
        try:
            document = json.loads(run.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise ValueError(f"{run} is damaged: {error}.") from None
        _check(document, run)
    if history.is_file():
        with open(history, newline="", encoding="utf-8") as file:
            rows = [_numbers(row) for row in csv.DictReader(file)]
    return RunRecords(path, document, rows, path.resolve().name)


def read_runs(paths):
    """Reads run folders, as `read_run` does, and gives each a name of its own."""
    runs = [read_run(path) for path in paths]
    places = [run.path.resolve().parts for run in runs]
    return [replace(run, name=_name(own, places)) for run, own in zip(runs, places, strict=True)]


def _name(own, places):
    """The last parts of a path, as many as no other path ends with."""
    for count in range(1, len(own)):
        if all(other[-count:] != own[-count:] for other in places if other != own):
            break
    return "/".join(own[-count:])


_NUMBER = (int, float)
# What a run writes, as far as pages and pictures count on it.
_KINDS = {
    "data": dict, "hardware": dict, "answers": dict, "reached": dict, "target_on": str,
    "test_accuracy": _NUMBER, "target_accuracy": _NUMBER, "training_seconds": _NUMBER,
    "wall_seconds": _NUMBER, "command": list,
}  # fmt: skip
_ROWS = {
    "epochs": {"training_seconds": _NUMBER, "accuracy": _NUMBER},
    "prices": {"kind": str, "usd_per_hour": _NUMBER, "cost_usd": _NUMBER},
}


def _check(document, path):
    """Raises `ValueError` where a record is not one of a run."""

    def refuse(name):
        raise ValueError(f"{path} is damaged, or no record of a run: see its {name}.")

    if not isinstance(document, dict):
        refuse("beginning")
    for name, kind in _KINDS.items():
        if document.get(name) is not None and not isinstance(document[name], kind):
            refuse(name)
    for name, columns in _ROWS.items():
        rows = document.get(name, [])
        if not isinstance(rows, list):
            refuse(name)
        for row in rows:
            if not isinstance(row, dict) or any(
                not isinstance(row.get(column), kind) for column, kind in columns.items()
            ):
                refuse(name)


def _numbers(row):
    found = {}
    for name, text in row.items():
        try:
            found[name] = float(text)
        except (TypeError, ValueError):
            continue  # a metric that this epoch does not have
    return found
