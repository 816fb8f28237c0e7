"""What can be wrong with a submission's entry, `run.json` and log: they are of the median run.

Each function yields sentences: what was expected, and what came.
"""

import csv
import json
import math
import re

from keras_dawn.dawnbench import validate_entry

from submission_checks import OF_OLDER, OLDER, median_run
from submission_names import faults_of_command, preset_of
from submission_times import told_plan

_RUN_IN_A_LOG = re.compile(r"^.+ \{'seed': .+\}$", re.MULTILINE)
_PLAN_OR_RUN = re.compile(r"^(?:(Planned: .+)|.+ \{'seed': .+\})$", re.MULTILINE)
_BESIDE = 30  # seconds of a run besides as much as its training, at most: views, the first start
PARTS = ("entry", "run.json", "log.txt")
_MAY_LACK = PARTS[1:]  # where it is older than the table
MODEL = "WhitenedConvNet"  # what `cifar10_record.py` calls its network in entries
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
        rows = list(csv.DictReader(file, delimiter="\t"))
    *before, (hours, accuracy) = [(float(row["hours"]), float(row["top1Accuracy"])) for row in rows]
    yield from _faults_of_rows(before, path.parent / "run.json")
    same_time = math.isclose(3600 * hours, median.get("dawnbench_seconds", 0), rel_tol=1e-6)
    if not same_time or not math.isclose(accuracy, median["accuracy_tta"], abs_tol=1e-4):
        yield (
            f"the entry has {accuracy} % after {3600 * hours:.2f} s; the median run, seed "
            f"{median['seed']}, has {median['accuracy_tta']} % after "
            f"{median.get('dawnbench_seconds')} s"
        )
    entry = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    yield from _faults_of_description(entry, document)
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


def _faults_of_description(entry, document):
    """The entry speaks of the runs' network, settings, versions and command."""
    misc, versions = entry["misc"], document["versions"]
    own = versions.get("keras_dawn")
    expected = {
        "model": (entry["model"], MODEL),
        "versions": (misc["versions"], versions if own else misc["versions"]),
        **{
            name: (misc[name], value)
            for name, value in document["settings"].items()
            if name in misc
        },
    }
    if own:
        told = f"keras_dawn {own}, Keras {versions['keras']}, torch {versions['torch']}"
        expected["framework"] = (entry["framework"], told)
    for name, (here, there) in expected.items():
        if here != there:
            yield f"the entry: {name} must be {there}, got {here!r:.200}"
    yield from faults_of_command("the entry", misc["commandLine"].split(), document)


def _faults_of_rows(before, run):
    """DAWNBench takes the first row at the target: no row before the last is made up."""
    epochs = json.loads(run.read_text(encoding="utf-8"))["epochs"] if run.is_file() else []
    for hours, accuracy in before:
        if not any(
            math.isclose(3600 * hours, epoch["training_seconds"], abs_tol=1e-6)
            and math.isclose(accuracy, epoch["accuracy"], abs_tol=1e-4)
            for epoch in epochs
        ):
            yield (
                "the entry: its rows before the last must be run.json's, got "
                f"{accuracy} % after {3600 * hours:.2f} s"
            )


def _faults_of_run(path, median, document, price):
    run = json.loads(path.read_text(encoding="utf-8"))
    last = run["epochs"][-1]
    on_demand = [each for each in run["prices"] if each["kind"] == "on-demand"]
    found = {
        "status": (run["status"], "finished"),
        "seed": (run["seed"], median["seed"]),
        "training time": (run["clocks"]["training"], median["seconds"]),
        "training_seconds": (run["training_seconds"], median.get("dawnbench_seconds")),
        "DAWNBench's time": (last["training_seconds"], median.get("dawnbench_seconds")),
        "accuracy": (run["test_accuracy"], median["accuracy_tta"]),
        "accuracy after the last epoch": (last["accuracy"], median["accuracy_tta"]),
        "hardware": (run["hardware"], document["hardware"]),
        "versions": (run["versions"], document["versions"]),
        "settings": (run["settings"], document["settings"]),
        "training images": (run["data"]["train_images"], 50_000),
        "test images": (run["data"]["test_images"], 10_000),
        "preset": (run["preset"], preset_of(document) or run["preset"]),
        "data": (run["data"]["name"], "cifar10"),
        "the data's SHA-256": (run["data"]["sha256"], CIFAR10_SHA256),
    }
    prices = [{name: each[name] for name in ("usd_per_hour", "source")} for each in on_demand]
    found["on-demand price"] = (prices[0] if prices else None, price)
    for each in on_demand:
        cost = each["usd_per_hour"] * run["training_seconds"] / 3600
        same = math.isclose(each["cost_usd"], cost, rel_tol=1e-6)
        found["cost, price times time,"] = (each["cost_usd"], each["cost_usd"] if same else cost)
    for name in ("convolutions", "device"):  # files from before do not tell
        if name in run and name in document:
            found[name] = (run[name], document[name])
    wall, training = run["wall_seconds"], run["clocks"]["training"]
    if not training <= wall <= 2 * training + _BESIDE:
        yield f"run.json: of {wall} s by the clock on the wall {training} are the training's"
    for name, (here, expected) in found.items():
        if here != expected:
            yield f"run.json: {name} must be {expected}, got {here!r:.200}"
    yield from faults_of_command("run.json", run["command"], document)


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
    plans = document.get("planned")
    if plans:
        yield from _faults_of_logged_plans(text, told_plan(plans[0]))


def _faults_of_logged_plans(text, planned):
    """Each run comes after the plan, printed by each sitting; one without a run may be another."""
    before = None
    for match in _PLAN_OR_RUN.finditer(text):
        if match[1]:
            before = match[1].strip()
        elif before != planned:
            yield f'log.txt must have "{planned}" before its runs, has {before or "no plan"}'
            return


_CHECKS = {"entry": _faults_of_entry, "run.json": _faults_of_run, "log.txt": _faults_of_log}
