"""What `gpu.py` prints at its end, and what follows from it."""

from gpu_parts import went_wrong
from rich.console import Console
from rich.table import Table

IMAGENET_IMAGES = 1_281_167
EFFICIENCY = "perfect scaling, loaders that keep up, no validation"


def projection(document, price_per_hour, plan=None):
    """Hours and dollars of a plan on ImageNet; a projection, not measured.

    Args:
        document: of `gpu.json`; its `steps` and `sizes` have the rates.
        price_per_hour: USD of one GPU, or `None`.
        plan: `TrainingPlan`, by default fast.ai's.
    """
    import keras_dawn  # not before: parts that the supervisor starts find it without

    plan = plan or keras_dawn.PLANS["fastai_8gpu"]
    found = {}
    for policy in ("mixed_float16", "mixed_bfloat16"):
        measured = rates(document, policy, plan)
        missing = [f"{size} px" for size, rate in measured.items() if rate is None]
        if missing:
            found[policy] = {"none, without ResNet-50's rates at": ", ".join(missing)}
            continue
        seconds = sum(cost.seconds for cost in plan.costs(IMAGENET_IMAGES, 1, measured))
        found[policy] = {
            "projected, assuming": EFFICIENCY,
            "hours_on_1_gpu": seconds / 3600,
            "hours_on_8_gpus": seconds / 3600 / 8,
        }
        if price_per_hour is not None:
            found[policy]["usd"] = seconds / 3600 * price_per_hour
    return found


def rates(document, policy, plan):
    """Images a second of ResNet-50's steps at each size of a plan; `None` where not measured."""
    measured = {}
    for name in ("steps", "sizes"):
        measured |= (document["parts"].get(name) or {}).get("results") or {}
    cases = {
        phase.image_size: measured.get(f"ResNet-50, {phase.image_size} px, batch 128, {policy}", {})
        for phase in plan.phases
    }
    return {
        size: case.get("keras_dawn", {}).get("images_per_second") for size, case in cases.items()
    }


def failures(document):
    """Names of the parts that failed, and of the cases that went wrong."""
    parts = document["parts"]
    failed = [name for name, part in parts.items() if "failed" in part["state"]]
    cases = [case for part in parts.values() for case in (part.get("results") or {}).items()]
    return failed + [name for name, found in cases if went_wrong(found)]


def show(document):
    """States, checks, then timings, short."""
    console, parts = Console(width=150), document["parts"]
    if document["tiny"]:
        console.print("--tiny: the script runs; of speed these numbers say nothing.")
    for name, part in parts.items():
        seconds = f" ({part['seconds']} s)" if "seconds" in part else ""
        results = (part.get("results") or {}).values()
        nothing = results and all("skipped" in result for result in results)
        console.print(f"{name}: {part['state']}{', all skipped' if nothing else ''}{seconds}")
    for name, check in (parts.get("checks", {}).get("results") or {}).items():
        console.print(f"{_word(check)}  {name}: {check.get('skipped') or check.get('found')}")
    results = {}
    for name in ("steps", "sizes", "heuristics", "compiled"):
        for title, result in (parts.get(name, {}).get("results") or {}).items():
            results[title if name in ("steps", "sizes") else f"{title}, {name}"] = result
    names = list(dict.fromkeys(name for result in results.values() for name in result))
    table = Table()
    for column in ("case", *names):
        table.add_column(column)
    for title, result in results.items():
        table.add_row(title, *(_cell(result.get(name, {})) for name in names))
    if results:
        console.print("images/s (time over hand; on a GPU, MiB reserved)", table)
    for name in ("record", "recipe", "normalizations", "photos", "kernels", "seeds"):
        for title, result in (parts.get(name, {}).get("results") or {}).items():
            if title != "runs":  # all that record.py wrote
                console.print(f"{name}, {title}: {_short(result)}")
    for policy, found in document["projection"].items():
        console.print(f"projection, {policy}: {_short(found)}")


def _word(check):
    if "skipped" in check:
        return "skipped"
    return "passed " if check.get("passed") else "FAILED "


def _cell(result):
    if "images_per_second" not in result:
        return (result.get("skipped") or result.get("error", ""))[:60]
    reserved = f"; {result['peak_mib']:,.0f}" if "peak_mib" in result else ""
    rate = result["images_per_second"]
    return f"{rate:,.0f} ({result['time_over_hand']:.2f}{reserved})"


def _short(result):
    if not isinstance(result, dict):
        return result
    shown = {key: value for key, value in result.items() if key not in ("runs", "largest")}
    return ", ".join(f"{key}: {_number(value)}" for key, value in shown.items())


def _number(value):
    return f"{value:.4g}" if isinstance(value, float) else value
