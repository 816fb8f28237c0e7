"""A submission to the table of records, made of what `record.py` has left.

That is its results file (`--json`), the run folders (`--output_dir`: `seed0`, `seed1` and so on)
and what it has printed. `submissions.py` says what a submission consists of.
"""

import json
import re
import shutil
from pathlib import Path

import submissions
from submission_checks import faults_of_file, median_run
from submission_names import given, told_names

# Flags of `record.py` that name places of a machine, and what is said in their stead.
_PLACES = {"data_dir": "FOLDER", "output_dir": "FOLDER", "json": "FILE", "flagfile": "FILE"}
# Before a path that begins there, in text and in JSON; not before the rest of another path or URL.
_BEGINS = r"(?:(?<![\w./~-])|(?<=file://)|(?<=\\[nrt]))"
_ENDS = r"(?![\w-]|\.\w)"


def make(folder, runs, run_folder, log, author, names, note=None):
    """Makes the submission; folders and files of the machine are called FOLDER and FILE in it.

    Args:
        folder: `Path` of the submission, which must not exist.
        runs, log: `Path`s of the results file and of what was printed.
        run_folder: `Path` of the folder that has the median run's folder in it, at any depth.
        author: str.
        names: dict from series of the runs to what they are, where `told_names` are not to be
            taken.
        note: str that the row is to have, or `None`.

    Raises:
        FileExistsError: there is such a submission.
        OSError: a file that is missing.
        ValueError: what is wrong with it or with one beside it, or a run that another one has; the
            folder is then removed.
    """
    if folder.exists():
        raise FileExistsError(f"{folder} is a submission already: take another name")
    for flag, path, is_there in (
        ("runs", runs, runs.is_file()),
        ("log", log, log.is_file()),
        ("folder", run_folder, run_folder.is_dir()),
    ):
        if not is_there:
            raise FileNotFoundError(f"--{flag}={path} is not there")
    try:
        document = json.loads(runs.read_text(encoding="utf-8"))
        names = {**told_names(document), **names}
        faults = faults_of_file({"series": names}, document)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{runs} is not a results file of record.py: {error!r}") from None
    if faults:  # before an entry is missed, which a run on some images has not
        raise ValueError("\n".join(f"{runs}: {fault}" for fault in faults))
    own = _folder_of_run(run_folder, median_run(document["runs"][next(iter(names))])["seed"])
    entry = next(own.glob("*_*_*_*.json"), None)
    if entry is None:
        raise FileNotFoundError(f"{own}, the folder of the median run, has no DAWNBench entry")
    about = {"author": author, "runs": {"file": "runs.json", "at": []}, "series": names}
    about["entry"] = entry.name
    command, about["price"] = _command_and_price(own / "run.json")
    command = [*document["command"], *command]  # of a later sitting, perhaps with other places
    if note is not None:
        about["note"] = note
    files = {"runs.json": runs, "log.txt": log, "run.json": own / "run.json", entry.name: entry}
    files[entry.with_suffix(".tsv").name] = entry.with_suffix(".tsv")
    folder.mkdir(parents=True)
    try:
        for name, path in files.items():
            text = without_places(path.read_bytes().decode("utf-8", "replace"), command)
            (folder / name).write_bytes(text.encode())
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (folder / "about.json").write_text(text + "\n", encoding="utf-8")
        others = (path for path in folder.parent.iterdir() if path.is_dir() and path != folder)
        submissions.read_all([*sorted(others), folder])
    except BaseException:
        shutil.rmtree(folder)
        raise


def without_places(text, command):
    """The text of a file without the absolute paths that flags of a command have.

    A path that only has one of them in its middle is left as it is, and so is a longer name.
    """
    places = {
        value.rstrip("/\\"): word
        for name, word in _PLACES.items()
        for value in given({"command": command}, name)
        if Path(value).is_absolute() and len(Path(value).parts) > 1
    }
    for value in sorted(places, key=len, reverse=True):  # a folder after what lies in it
        # As it is, and as JSON has it: backslashes doubled, perhaps only ASCII.
        for way in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}:
            text = re.sub(_BEGINS + re.escape(way) + _ENDS, places[value], text)
    return text


def _folder_of_run(run_folder, seed):
    """The folder of a seed's finished run; parts of `gpu.py` have one folder each for theirs."""
    found = [path.parent for path in Path(run_folder).rglob(f"seed{seed}/run.json")]
    if len(found) != 1:
        told = ", ".join(map(str, found)) or "none"
        raise FileNotFoundError(
            f"{run_folder} must have one seed{seed}/run.json, of the median run; it has {told}"
        )
    return found[0]


def _command_and_price(run):
    """The command of a run, and what `about.json` says of its on-demand price."""
    try:
        document = json.loads(run.read_text(encoding="utf-8"))
        on_demand = [price for price in document["prices"] if price["kind"] == "on-demand"]
        price = {name: on_demand[0][name] for name in ("usd_per_hour", "source") if on_demand}
        return list(map(str, document["command"])), price or None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{run} is no run's: {error!r}") from None
