"""What `gpu.py` prints at its end, and what follows from it."""

from gpu_parts import went_wrong
from rich.console import Console
from rich.table import Table

IMAGENET_IMAGES = 1_281_167
EFFICIENCY = "perfect scaling, loaders that keep up, no validation"


def projection(document, price_per_hour):
    """Hours and dollars to 93 % top-5 on ImageNet by fast.ai's plan; a projection, not measured.

    Args:
        document: of `gpu.json`; its `steps` and `sizes` have the rates.
        price_per_hour: USD of one GPU, or `None`.
    """
    import keras_dawn  # not before: parts that the supervisor starts find it without

    parts = document["parts"]
    measured = {}
    for name in ("steps", "sizes"):
        measured |= (parts.get(name) or {}).get("results") or {}
    found = {}
    for policy in ("mixed_float16", "mixed_bfloat16"):
        rates = {}
        for size in (128, 224, 288):
            ours = measured.get(f"ResNet-50, {size} px, batch 128, {policy}", {})
            rates[size] = ours.get("keras_dawn", {}).get("images_per_second")
        if None in rates.values():
            continue
        plan = keras_dawn.PLANS["fastai_8gpu"]
        seconds = sum(cost.seconds for cost in plan.costs(IMAGENET_IMAGES, 1, rates))
        found[policy] = {
            "projected, assuming": EFFICIENCY,
            "hours_on_1_gpu": seconds / 3600,
            "hours_on_8_gpus": seconds / 3600 / 8,
        }
        if price_per_hour is not None:
            found[policy]["usd"] = seconds / 3600 * price_per_hour
    return found


def failures(document):
    """Names of the parts that failed, and of the cases that went wrong."""
    parts = document["parts"]
    failed = [name for name, part in parts.items() if "failed" in part["state"]]
    cases = [case for part in parts.values() for case in (part.get("results") or {}).items()]
    return failed + [name for name, found in cases if went_wrong(found)]


def show(document):
    """States, checks, then timings, short."""
    console, parts = Console(width=150), document["parts"]
    for name, part in parts.items():
        console.print(f"{name}: {part['state']} ({part.get('seconds', 0)} s)")
    for name, check in (parts.get("checks", {}).get("results") or {}).items():
        said = check.get("found") or check.get("error")
        console.print(f"{'passed' if check.get('passed') else 'FAILED'}  {name}: {said}")
    results = {}
    for name in ("steps", "sizes", "heuristics", "compiled"):
        for title, result in (parts.get(name, {}).get("results") or {}).items():
            results[title if name in ("steps", "sizes") else f"{title}, {name}"] = result
    names = list(dict.fromkeys(name for result in results.values() for name in result))
    table = Table(title="images/s (time over hand; MiB reserved)")
    for column in ("case", *names):
        table.add_column(column)
    for title, result in results.items():
        table.add_row(title, *(_cell(result.get(name, {})) for name in names))
    console.print(table)
    for name in ("record", "recipe", "normalizations", "photos", "kernels", "seeds"):
        for title, result in (parts.get(name, {}).get("results") or {}).items():
            console.print(f"{name}, {title}: {_short(result)}")
    console.print("projection:", document.get("projection"))


def _cell(result):
    if "images_per_second" not in result:
        return result.get("error", "")[:60]
    return (
        f"{result['images_per_second']:,.0f} "
        f"({result['time_over_hand']:.2f}; {result.get('peak_mib') or 0:,.0f})"
    )


def _short(result):
    if not isinstance(result, dict):
        return result
    return {key: value for key, value in result.items() if key not in ("runs", "largest")}
