"""A submission to the table of records, made of what `record.py` has left.

That is its results file (`--json`), the run folders (`--output_dir`: `seed0`, `seed1` and so on)
and what it has printed. `submissions.py` says what a submission consists of.
"""

import json
import shutil
from pathlib import Path

import submissions
from submission_checks import faults_of_file, median_run
from submission_names import given, told_names

# Flags of `record.py` that name places of a machine, and what is said in their stead.
_PLACES = {"data_dir": "FOLDER", "output_dir": "FOLDER", "json": "FILE"}


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
        ValueError: what is wrong with it; the folder is then removed.
    """
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
    about["price"] = _price_of(own / "run.json")
    if note is not None:
        about["note"] = note
    files = {"runs.json": runs, "log.txt": log, "run.json": own / "run.json", entry.name: entry}
    files[entry.with_suffix(".tsv").name] = entry.with_suffix(".tsv")
    folder.mkdir(parents=True)
    try:
        for name, path in files.items():
            text = without_places(path.read_bytes().decode("utf-8", "replace"), document["command"])
            (folder / name).write_bytes(text.encode())
        text = json.dumps(about, indent=1, ensure_ascii=False)
        (folder / "about.json").write_text(text + "\n", encoding="utf-8")
        submissions.read(folder)
    except BaseException:
        shutil.rmtree(folder)
        raise


def without_places(text, command):
    """The text of a file without the absolute paths that flags of a command have."""
    places = {
        value: word
        for name, word in _PLACES.items()
        for value in given({"command": command}, name)
        if Path(value).is_absolute() and len(Path(value).parts) > 1
    }
    for value in sorted(places, key=len, reverse=True):  # a folder after what lies in it
        # As it is, and as JSON has it: backslashes doubled, perhaps only ASCII.
        for way in {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}:
            text = text.replace(way, places[value])
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


def _price_of(run):
    """What `about.json` says of the on-demand price of a run."""
    try:
        prices = json.loads(run.read_text(encoding="utf-8"))["prices"]
        on_demand = [price for price in prices if price["kind"] == "on-demand"]
        return {
            name: on_demand[0][name] for name in ("usd_per_hour", "source") if on_demand
        } or None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"{run} is no run's: {error!r}") from None
