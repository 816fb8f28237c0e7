"""What can be wrong with the plan and the moments of a submission's runs.

Each function yields sentences: what was expected, and what came.
"""

import itertools
from datetime import UTC, datetime, timedelta

# `record.py` has counted the runs that were cut off since then; an older plan has no such count.
_COUNTED_SINCE = datetime(2026, 11, 28, 7, tzinfo=UTC)


def told_plan(plan):
    """The line that `record.py` prints of one of the plans of its results file."""
    loops = min(plan["peer_runs"], plan["runs"])
    return (
        f"Planned: {plan['runs']} runs of it and {loops} of each loop, from seed "
        f"{plan['first_seed']} on."
    )


def moment(text):
    """The moment that a run ended at, in UTC, or `None` where the text is none with its zone."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found.astimezone(UTC) if found.tzinfo else None


def faults_of_order(runs):
    """Runs come one after the other: none began before the one before it had ended."""
    runs = sorted(runs, key=lambda each: moment(each[1]["ended"]))
    for (_, before), (name, run) in itertools.pairwise(runs):
        between = (moment(run["ended"]) - moment(before["ended"])).total_seconds()
        if between + 1 < run["seconds"]:  # moments are whole seconds
            yield (
                f"{name}, seed {run['seed']}: it took {run['seconds']:.1f} s and ended "
                f"{between:.0f} s after the run before it"
            )


def faults_of_plan(document):
    """All runs that were planned are there, and none was added when some were known."""
    plans = document.get("planned") or []
    numbers = [tuple(one[key] for key in ("first_seed", "runs", "peer_runs")) for one in plans]
    if len(numbers) != 1 or not all(type(number) is int for number in numbers[0]):
        yield (
            "the number of runs is fixed before the first of them; (first seed, runs, runs of each "
            f"loop) were planned as {', then '.join(map(str, numbers)) or 'nothing'}"
        )
        return
    at, told = moment(plans[0].get("at")), plans[0].get("at")
    first_begin = min(_begin(run) for runs in document["runs"].values() for run in runs)
    if at is None or at > first_begin + timedelta(seconds=1):  # moments are whole seconds
        yield (
            "its plan must have been made at a moment before the first run, which began at "
            f"{first_begin.isoformat(timespec='seconds')}, got {told}"
        )
        return
    first, ours, loops = numbers[0]
    for name, runs in document["runs"].items():
        if not runs and name != "keras_dawn":
            continue  # a loop that a later sitting has left out before its first run was finished
        count = ours if name == "keras_dawn" else min(ours, loops)
        seeds = sorted(run["seed"] for run in runs)
        if seeds != list(range(first, first + count)):
            yield f"{name}: {count} runs from seed {first} on were planned, its seeds are {seeds}"
    if at >= _COUNTED_SINCE or "begun" in document:
        yield from _faults_of_begun(document)


def cut_off(document, name):
    """How many runs of a series were begun and not finished, `None` where nobody counted them."""
    if "begun" not in document:
        return None
    return len(document["begun"][name]) - len(document["runs"][name])


def _begin(run):
    return moment(run["ended"]) - timedelta(seconds=run["seconds"])


def _faults_of_begun(document):
    """Each run was begun, at a moment that goes with its time."""
    begun = document.get("begun")
    if not isinstance(begun, dict) or not begun.keys() >= document["runs"].keys():
        yield f"the file of the runs must have `begun`, all that were begun, got {begun}"
        return
    for name, runs in document["runs"].items():
        for run in runs:
            found = [moment(one["at"]) for one in begun[name] if one["seed"] == run["seed"]]
            if not found or None in found:
                yield f"{name}, seed {run['seed']}: `begun` must have when it was begun"
                continue
            took = (moment(run["ended"]) - max(found)).total_seconds()
            # What is not in its time is the evaluation, a network's building and the pictures.
            if not run["seconds"] <= took + 1 <= 2 * run["seconds"] + 60:
                yield (
                    f"{name}, seed {run['seed']}: it has {run['seconds']:.1f} seconds of training, "
                    f"and ended {took:.0f} s after it was begun"
                )
