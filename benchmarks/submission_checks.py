"""What can be wrong with the documents of a submission; `submissions.py` says what one is.

Each function yields sentences: what was expected, and what came. `submission_times.py` has what can
be wrong with plan and moments, `submission_names.py` with the names of series, and
`submission_parts.py` with the other files.
"""

import json
import re
from datetime import UTC, datetime, timedelta

from submission_names import faults_of_command, faults_of_names
from submission_times import faults_of_order, faults_of_plan, moment

# Submissions of before the table, by name: they alone may lack `run.json` and log, have the file of
# the runs elsewhere and an entry that was made of it later.
OLDER = (
    "2026-11-26_two_cores_float32", "2026-11-26_one_h100", "2026-11-27_one_h200",
    "2026-11-27_one_h200_afternoon",
)  # fmt: skip
_KEYS = {"author", "runs", "series", "price"}
OF_OLDER = ("lacks", "derived")  # what about.json says of missing files and of such an entry
_PRICES = (0.001, 10_000)  # USD an hour, the lowest and the highest that a machine has
_LOADING = 300  # seconds of DAWNBench's clock before the training, at most
_UNREADABLE = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)


def read_documents(folder):
    """What `about.json` and the file of the runs hold, and what is wrong with them."""
    about = document = None
    try:
        about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
        faults = list(_faults_of_about(folder, about))
        if faults:
            return about, None, faults
        document = json.loads((folder / about["runs"]["file"]).read_text(encoding="utf-8"))
        for key in about["runs"].get("at", []):
            document = document[key]
        faults = faults_of_file(about, document, folder.name in OLDER)
    except _UNREADABLE as error:
        return about, None, [f"it cannot be read: {error!r}"]
    return about, document, faults


def faults_of_file(about, document, is_older=False):
    """What is wrong with a results file of `record.py` whose series `about` names.

    One that is older than the table may lack plan and commit.
    """
    return (
        list(_faults_of_document(document, is_older))
        or list(_faults_of_runs(about, document))
        or list(() if is_older else faults_of_plan(document))
        or [
            *faults_of_names(about["series"], document),
            *faults_of_command("the file of the runs", document["command"], document),
        ]
    )


def faults_of_name(folder, about, document):
    """What is wrong with the folder's name, which is a part of a link."""
    last = max(moment(run["ended"]) for name in about["series"] for run in document["runs"][name])
    day = last.date().isoformat()
    if not re.fullmatch(rf"{day}_[\w.-]+", folder.name, re.ASCII):
        yield (
            f"its folder must be called after the day of its last run, {day}_WORDS, in letters, "
            "digits and ._-"
        )


def median_run(runs):
    """The run of median time; of an even number the slower of the two in the middle."""
    return sorted(runs, key=lambda run: run.get("dawnbench_seconds", run["seconds"]))[
        len(runs) // 2
    ]


def _is_number(value):
    """Whether it is a finite number: JSON has `NaN`, whole numbers without end, and `true`."""
    return type(value) in (int, float) and abs(value) < 1e12


def _is_words(text, most=200):
    """Whether it is text for a cell of the page, with nothing but `code` of Markdown and HTML."""
    if not isinstance(text, str) or not text.strip() or len(text) > most:
        return False
    return text.isprintable() and not set("|<>[]*\\") & set(text)


def _faults_of_about(folder, about):
    about_keys = about.keys() if isinstance(about, dict) else set()
    if not about_keys >= _KEYS or about_keys - _KEYS - {"entry", "note", *OF_OLDER}:
        yield (
            f"about.json must have {', '.join(sorted(_KEYS))}, and entry, and nothing else; it has "
            f"{', '.join(about_keys) or 'none'}"
        )
        return
    runs, series, price = about["runs"], about["series"], about["price"]
    if not isinstance(runs, dict) or not isinstance(runs.get("file"), str):
        yield f"`runs` must have the `file` of the runs, got {runs}"
        return
    if not isinstance(series, dict):
        yield f"`series` must have each series of the runs and what it is, got {series}"
        return
    texts = [about["author"], *series.values()]
    if price is not None:
        if not isinstance(price, dict) or price.keys() != {"usd_per_hour", "source"}:
            yield f"`price` must be null or have usd_per_hour and source, got {price}"
            return
        texts.append(price["source"])
        low, high = _PRICES
        if not (_is_number(price["usd_per_hour"]) and low <= price["usd_per_hour"] <= high):
            yield f"a price is {low} to {high:,} USD an hour, got {price['usd_per_hour']}"
    if "note" in about and not _is_words(about["note"], 600):
        yield f"`note` is words for a table's cell, up to 600, got {about['note']!r:.700}"
    for text in texts:
        if not _is_words(text):
            yield (
                "author, series and a price's source are words for a table's cell, up to 200 "
                f"characters without |<>[]*\\, got {text!r:.300}"
            )
    for name in (runs["file"], about.get("entry", "none")):
        if not isinstance(name, str):
            yield f"its files are names, got {name}"
        elif folder.name not in OLDER and ("/" in name or "\\" in name):
            yield f"its files lie in its folder, {name} does not"


def _faults_of_document(document, is_older):
    for part, kind in (
        ("command", list), ("versions", dict), ("settings", dict), ("hardware", dict),
        ("runs", dict),
    ):  # fmt: skip
        if not isinstance(document[part], kind) or not document[part]:
            yield f"the file of the runs must have their {part}, got {document[part]}"
            return
    hardware = document["hardware"]
    gpus, cores = hardware.get("gpus"), hardware.get("cores")
    counted = type(cores) is int and cores > 0
    told = [hardware.get("processor"), document.get("instructions", "none")]
    named = isinstance(gpus, list) and all(map(_is_words, [*told, *gpus]))
    if not named or not counted:
        yield (
            "the hardware must have processor, cores and gpus (a list of names), and the file its "
            f"instructions, in words for a table's cell, got {hardware} and {told[1]}"
        )
        return
    processes = document.get("processes", {}).get("world_size", 1)
    if gpus and len(gpus) != processes:
        yield (
            f"the hardware has {len(gpus)} GPUs and {processes} of them trained: hide the others, "
            "as by CUDA_VISIBLE_DEVICES=0"
        )
    if not is_older and not is_commit(document.get("commit")):
        yield (
            "the file of the runs must have the commit of a checkout without changes, 40 "
            f"hexadecimal digits, got {document.get('commit')}"
        )


def is_commit(found):
    """Whether what `record_results.commit` has found is that of a checkout without changes."""
    return re.fullmatch("[0-9a-f]{40}", str(found)) is not None


def _faults_of_runs(about, document):
    series = {name: runs for name, runs in document["runs"].items() if runs}
    if not series or about["series"].keys() != series.keys():
        yield (
            f"`series` must name all series of the runs, {_quoted(series)}; "
            f"it names {_quoted(about['series'])}"
        )
        return
    if document["settings"].get("train_images") or document["settings"].get("test_images"):
        yield "it is trained or tested on some of the images only"
    faults = [fault for name in series for fault in _faults_of_series(name, series[name])]
    yield from faults or faults_of_order([(name, run) for name in series for run in series[name]])


def _faults_of_series(name, runs):
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        yield f"{name}: it must be a list of runs, each with seed, ended, seconds, accuracy_tta"
        return
    faults = [fault for run in runs for fault in _faults_of(name, run)]
    yield from faults
    if faults:
        return
    seeds = sorted(run["seed"] for run in runs)
    if seeds != list(range(seeds[0], seeds[0] + len(seeds))):
        yield f"{name}: seeds must follow each other, none left out or repeated; got {seeds}"
    if len({"dawnbench_seconds" in run for run in runs}) > 1:
        yield f"{name}: either all of its runs have dawnbench_seconds or none"
    if len({(run["seconds"], run["accuracy_tta"]) for run in runs}) < len(runs):
        yield f"{name}: two of its runs have the same time and accuracy"


def _quoted(names):
    return ", ".join(f'"{name}"' for name in names) or "none"


def _faults_of(name, run):
    """Of a single run."""
    which = f"{name}, seed {run.get('seed')}"
    lacking = {"seed", "ended", "seconds", "accuracy_tta"} - run.keys()
    if lacking:
        yield f"{which}: it must have {', '.join(sorted(lacking))}"
        return
    if type(run["seed"]) is not int:
        yield f"{which}: a seed is a whole number"
    seconds, accuracy = numbers = (run["seconds"], run["accuracy_tta"])
    if not (all(map(_is_number, numbers)) and seconds > 0 and 0 <= accuracy <= 100):
        yield f"{which}: {numbers!r:.200} are no seconds and percent"
        return
    if abs(100 * accuracy - round(100 * accuracy)) > 1e-6:
        yield f"{which}: {accuracy} % is no number of 10,000 test images"
    clock = run.get("dawnbench_seconds", seconds)
    if not _is_number(clock) or clock < seconds:
        yield f"{which}: DAWNBench's clock, {clock!r:.200} s, has the training in it, {seconds} s"
    elif clock - seconds > _LOADING:
        yield f"{which}: {clock - seconds:.0f} s of DAWNBench's clock lie before the training"
    ended = moment(run["ended"])
    if ended is None or ended > datetime.now(UTC) + timedelta(days=1):
        yield f"{which}: it must have ended at a moment with its time zone, got {run['ended']}"
