"""What can be wrong with a submission to the table of records; `submissions.py` says what one is.

Each function yields sentences: what was expected, and what came.
"""

import itertools
import json
import math
from datetime import UTC, datetime, timedelta

from keras_dawn.dawnbench import validate_entry

PARTS = ("entry", "run.json", "log.txt")
# Submissions of before the table, by name: they alone may lack files and have them elsewhere.
OLDER = ("2026-11-26_two_cores_float32", "2026-11-26_one_h100", "2026-11-27_one_h200")
# Of the pixels and labels of CIFAR-10's official Python batches, as `ImageSet.fingerprint` has it.
CIFAR10 = "6b3883dca6c867f1e58def548c063d1865569b8575fcbce06b3e468a89f9895a"
_KEYS = {"author", "runs", "series", "price"}


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
        for part in ("command", "versions", "settings"):
            document[part]
        faults = [*_faults_of_hardware(document["hardware"]), *faults_of_runs(about, document)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return about, None, [f"it cannot be read: {error!r}"]
    return about, document, faults


def faults_of_parts(folder, about, document):
    """What is wrong with the entry, the run's `run.json` and the log."""
    lacks = about.get("lacks", {}) if folder.name in OLDER else {}
    last = max(_moment(run["ended"]) for name in about["series"] for run in document["runs"][name])
    if not folder.name.startswith(f"{last.date()}_"):
        yield f"its folder must be called after the day of its last run, {last.date()}_WORDS"
    if about.get("lacks") and not lacks:
        yield "`lacks` is for the runs that are older than the table, which lack some files"
    median = median_run(document["runs"][next(iter(about["series"]))])
    for part in PARTS:
        path = folder / (about.get("entry", "no entry") if part == "entry" else part)
        if path.is_file():
            yield from _CHECKS[part](path, median, document)
        elif part not in lacks:
            yield f"{part} is missing"


def median_run(runs):
    """The run of median time; of an even number the slower of the two in the middle."""
    return sorted(runs, key=lambda run: run.get("dawnbench_seconds", run["seconds"]))[
        len(runs) // 2
    ]


def _faults_of_about(folder, about):
    unknown = about.keys() - _KEYS - {"entry", "lacks"}
    if not about.keys() >= _KEYS or unknown:
        yield f"about.json must have {', '.join(sorted(_KEYS))}; it has {', '.join(about)}"
        return
    texts = [about["author"], *about["series"].values()]
    price = about["price"]
    if price:
        texts.append(price["source"])
        if not (math.isfinite(price["usd_per_hour"]) and price["usd_per_hour"] > 0):
            yield f"a price is USD an hour above 0, got {price['usd_per_hour']}"
    for text in texts:
        if not text.strip() or "|" in text or not text.isprintable():
            yield f"author, series and a price's source are words for a table's cell, got {text!r}"
    for name in (about["runs"]["file"], about.get("entry", "none")):
        if folder.name not in OLDER and ("/" in name or "\\" in name):
            yield f"its files lie in its folder, {name} does not"


def _faults_of_hardware(hardware):
    gpus = hardware.get("gpus")
    named = isinstance(gpus, list) and all(isinstance(gpu, str) for gpu in gpus)
    if not named or not hardware.get("processor") or not hardware.get("cores"):
        yield f"the hardware must have processor, cores and gpus (a list of names), got {hardware}"


def faults_of_runs(about, document):
    """What is wrong with a results file whose series `about` names."""
    series = {name: runs for name, runs in document["runs"].items() if runs}
    if not series or about["series"].keys() != series.keys():
        yield (
            f"`series` must name all series of the runs, {_quoted(series)}; "
            f"it names {_quoted(about['series'])}"
        )
        return
    if document["settings"].get("train_images") or document["settings"].get("test_images"):
        yield "it is trained or tested on some of the images only"
    faults = [fault for name in series for run in series[name] for fault in _faults_of(name, run)]
    yield from faults
    if faults:
        return
    for name, runs in series.items():
        seeds = sorted(run["seed"] for run in runs)
        if seeds != list(range(seeds[0], seeds[0] + len(seeds))):
            yield f"{name}: seeds must follow each other, none left out or repeated; got {seeds}"
    yield from _faults_of_times([(name, run) for name in series for run in series[name]])


def _quoted(names):
    return ", ".join(f'"{name}"' for name in names) or "none"


def _faults_of(name, run):
    """Of a single run."""
    which = f"{name}, seed {run.get('seed')}"
    lacking = {"seed", "ended", "seconds", "accuracy_tta"} - run.keys()
    if lacking:
        yield f"{which}: it must have {', '.join(sorted(lacking))}"
        return
    numbers = (run["seconds"], run["accuracy_tta"])
    if not (all(map(math.isfinite, numbers)) and numbers[0] > 0 and 0 <= numbers[1] <= 100):
        yield f"{which}: {numbers} are no seconds and percent"
    elif abs(100 * numbers[1] - round(100 * numbers[1])) > 1e-6:
        yield f"{which}: {numbers[1]} % is no number of 10,000 test images"
    if run.get("dawnbench_seconds", math.inf) < run["seconds"]:
        yield f"{which}: DAWNBench's clock, {run['dawnbench_seconds']} s, has the training in it"
    moment = _moment(run["ended"])
    if moment.tzinfo is None or moment > datetime.now(UTC) + timedelta(days=1):
        yield f"{which}: it must have ended at a moment with its time zone, got {run['ended']}"


def _faults_of_times(runs):
    """Runs come one after the other: none began before the one before it had ended."""
    runs = sorted(runs, key=lambda each: _moment(each[1]["ended"]))
    for (_, before), (name, run) in itertools.pairwise(runs):
        between = (_moment(run["ended"]) - _moment(before["ended"])).total_seconds()
        if between + 1 < run["seconds"]:  # moments are whole seconds
            yield (
                f"{name}, seed {run['seed']}: it took {run['seconds']:.1f} s and ended "
                f"{between:.0f} s after the run before it"
            )


def _moment(text):
    return datetime.fromisoformat(text)


def _faults_of_entry(path, median, document):
    for check in validate_entry(path):
        # A single run may miss what the mean of all reaches.
        if not check.passed and check.name != "threshold":
            yield f"the entry: {check.message}"
            return
    last = path.with_suffix(".tsv").read_text(encoding="utf-8").strip().split("\n")[-1].split("\t")
    hours, accuracy = float(last[1]), float(last[2])
    same_time = math.isclose(3600 * hours, median.get("dawnbench_seconds", 0), rel_tol=1e-6)
    if not same_time or not math.isclose(accuracy, median["accuracy_tta"], abs_tol=1e-4):
        yield (
            f"the entry has {accuracy} % after {3600 * hours:.2f} s; the median run, seed "
            f"{median['seed']}, has {median['accuracy_tta']} % after "
            f"{median.get('dawnbench_seconds')} s"
        )


def _faults_of_run(path, median, document):
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
        found = {
            "status": (run["status"], "finished"),
            "seed": (run["seed"], median["seed"]),
            "training time": (run["clocks"]["training"], median["seconds"]),
            "hardware": (run["hardware"], document["hardware"]),
            "versions": (run["versions"], document["versions"]),
            "settings": (run["settings"], document["settings"]),
            "training images": (run["data"]["train_images"], 50_000),
            "test images": (run["data"]["test_images"], 10_000),
            "data": (run["data"]["name"], "cifar10"),
            "the data's SHA-256": (run["data"]["sha256"], CIFAR10),
        }
    except (ValueError, KeyError, TypeError) as error:
        yield f"run.json is no run's: {error!r}"
        return
    for name, (here, expected) in found.items():
        if here != expected:
            yield f"run.json: {name} must be {expected}, got {here}"


def _faults_of_log(path, median, document):
    text = path.read_text(encoding="utf-8", errors="replace")
    for name, runs in document["runs"].items():
        # `record.py` prints each run as its results file has it.
        missing = [run["seed"] for run in runs if f"{name} {run}" not in text]
        if missing:
            yield f"log.txt lacks the lines of {name}, seeds {', '.join(map(str, missing))}"


_CHECKS = {"entry": _faults_of_entry, "run.json": _faults_of_run, "log.txt": _faults_of_log}
