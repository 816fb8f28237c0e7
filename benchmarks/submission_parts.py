"""What can be wrong with a submission's entry, `run.json` and log: they are of the median run.

Each function yields sentences: what was expected, and what came.
"""

import csv
import json
import math
import re

from keras_dawn.dawnbench import validate_entry

from submission_checks import OF_OLDER, OLDER, median_run

_RUN_IN_A_LOG = re.compile(r"^.+ \{'seed': .+\}$", re.MULTILINE)
_BESIDE = 30  # seconds of a run besides as much as its training, at most: views, the first start
PARTS = ("entry", "run.json", "log.txt")
_MAY_LACK = PARTS[1:]  # where it is older than the table
# Of the pixels and labels of CIFAR-10's official Python batches, as `ImageSet.fingerprint` has it.
CIFAR10_SHA256 = "6b3883dca6c867f1e58def548c063d1865569b8575fcbce06b3e468a89f9895a"


def faults_of_parts(folder, about, document):
    """What is wrong with the three, or that one is missing."""
    is_older = folder.name in OLDER
    for key in OF_OLDER:
        if about.get(key) and not is_older:
            yield f"`{key}` is for the runs that are older than the table"
    lacks = [part for part in _MAY_LACK if is_older and part in about.get("lacks", ())]
    median = median_run(document["runs"][next(iter(about["series"]))])
    for part in PARTS:
        path = folder / (about.get("entry", "no entry") if part == "entry" else part)
        if path.is_file():
            if part in lacks:
                yield f"{part} is there, and about.json says why it lacks"
            try:
                yield from _CHECKS[part](path, median, document, about["price"])
            except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
                yield f"{part} cannot be read: {error!r}"
        elif part not in lacks:
            yield f"{part} is missing"


def _faults_of_entry(path, median, document, price):
    for check in validate_entry(path):
        # A single run may miss what the mean of all reaches.
        if not check.passed and check.name != "threshold":
            yield f"the entry: {check.message}"
            return
    with path.with_suffix(".tsv").open(newline="", encoding="utf-8") as file:
        *_, last = csv.DictReader(file, delimiter="\t")
    hours, accuracy = float(last["hours"]), float(last["top1Accuracy"])
    same_time = math.isclose(3600 * hours, median.get("dawnbench_seconds", 0), rel_tol=1e-6)
    if not same_time or not math.isclose(accuracy, median["accuracy_tta"], abs_tol=1e-4):
        yield (
            f"the entry has {accuracy} % after {3600 * hours:.2f} s; the median run, seed "
            f"{median['seed']}, has {median['accuracy_tta']} % after "
            f"{median.get('dawnbench_seconds')} s"
        )
    entry = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    machine = document["hardware"]
    if machine["gpus"]:
        devices = [f"{len(machine['gpus'])} × {machine['gpus'][0]}"]
    else:  # the second one is what recipes wrote up to 2026-11-28
        count, name = machine["cores"], machine["processor"]
        devices = [f"{count} core{'s' * (count > 1)} of {name}", f"{count} × {name}"]
    if not any(f"{entry['hardware']}, ".startswith(f"{device}, ") for device in devices):
        yield f"the entry: hardware must be {devices[0]}, got {entry['hardware']}"
    if entry.get("costPerHour") != (price and price["usd_per_hour"]):
        yield (
            f"the entry: costPerHour must be about.json's price, {price and price['usd_per_hour']}"
            f", got {entry.get('costPerHour')}"
        )


def _faults_of_run(path, median, document, price):
    run = json.loads(path.read_text(encoding="utf-8"))
    last = run["epochs"][-1]
    on_demand = [each for each in run["prices"] if each["kind"] == "on-demand"]
    found = {
        "status": (run["status"], "finished"),
        "seed": (run["seed"], median["seed"]),
        "training time": (run["clocks"]["training"], median["seconds"]),
        "DAWNBench's time": (last["training_seconds"], median.get("dawnbench_seconds")),
        "accuracy": (run["test_accuracy"], median["accuracy_tta"]),
        "accuracy after the last epoch": (last["accuracy"], median["accuracy_tta"]),
        "hardware": (run["hardware"], document["hardware"]),
        "versions": (run["versions"], document["versions"]),
        "settings": (run["settings"], document["settings"]),
        "training images": (run["data"]["train_images"], 50_000),
        "test images": (run["data"]["test_images"], 10_000),
        "data": (run["data"]["name"], "cifar10"),
        "the data's SHA-256": (run["data"]["sha256"], CIFAR10_SHA256),
    }
    prices = [{name: each[name] for name in ("usd_per_hour", "source")} for each in on_demand]
    found["on-demand price"] = (prices[0] if prices else None, price)
    for each in on_demand:
        cost = each["usd_per_hour"] * run["training_seconds"] / 3600
        same = math.isclose(each["cost_usd"], cost, rel_tol=1e-6)
        found["cost, price times time,"] = (each["cost_usd"], each["cost_usd"] if same else cost)
    wall, training = run["wall_seconds"], run["clocks"]["training"]
    if not training <= wall <= 2 * training + _BESIDE:
        yield f"run.json: of {wall} s by the clock on the wall {training} are the training's"
    for name, (here, expected) in found.items():
        if here != expected:
            yield f"run.json: {name} must be {expected}, got {here!r:.200}"


def _faults_of_log(path, median, document, price):
    text = path.read_text(encoding="utf-8", errors="replace")
    known = {f"{name} {run}" for name, runs in document["runs"].items() for run in runs}
    more = sorted(set(_RUN_IN_A_LOG.findall(text)) - known)
    if more:
        yield f"log.txt has runs that the file of the runs lacks: {'; '.join(more):.300}"
    for name, runs in document["runs"].items():
        # `record.py` prints each run as its results file has it.
        missing = [run["seed"] for run in runs if f"{name} {run}" not in text]
        if missing:
            yield f"log.txt lacks the lines of {name}, seeds {', '.join(map(str, missing))}"


_CHECKS = {"entry": _faults_of_entry, "run.json": _faults_of_run, "log.txt": _faults_of_log}
