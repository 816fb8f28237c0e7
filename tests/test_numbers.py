"""Numbers that pages quote are those in the JSON that they were measured into."""

import json
import re
import statistics
from pathlib import Path

from keras_dawn.dawnbench import boards

import pytest

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


COUNTS = {1: "one thread", 2: "two cores"}


def machine(document):
    """The processor or GPU of a result, as a page names it."""
    hardware = document["hardware"]
    if hardware["gpus"]:
        return f"one {hardware['gpus'][0].removesuffix(' 80GB HBM3')}"
    processor = "Intel Xeon" if "Xeon" in hardware["processor"] else hardware["processor"]
    return f"{COUNTS[hardware['torch_threads']]} of an {processor}"


def beside_the_loop(record):
    """Mean accuracy, times over airbench94's one run, and how many runs."""
    own, loop = (record["runs"][name] for name in ("keras_dawn", "airbench94, plain torch"))
    accuracy = statistics.mean(run["accuracy_tta"] for run in own)
    ratios = [run["seconds"] / one["seconds"] for one in loop for run in own]
    assert len(loop) == 1
    return accuracy, ratios, f"{len(own)} runs"


def over_the_quickest_loop(name, epochs):
    """Time of nine epochs of `cpu` over that of the quickest plain loop, by rates of so many."""
    found = result(name)
    assert found["fastest_loop"] == "hiverge, plain torch, mixed_bfloat16"
    seconds = found["seconds_by_rates"]
    ours = seconds["keras_dawn, cpu, mixed_bfloat16"] * 9 / epochs
    return f"{ours / seconds[found['fastest_loop']]:.2f}"


def measured():
    """The cells of the table's second and third columns, made of the results."""
    everyday = result("everyday-cpu-2026-11-28")
    plain, hand = (everyday["summary"][f"train, small, float32, by graph, n/{k}"] for k in "pt")
    yield (
        f"{plain['geometric_mean']:.2f} of plain Keras's time, {hand['geometric_mean']:.2f} of "
        "loops written by hand (geometric means)",
        f"{machine(everyday)}, {everyday['rounds']} rounds",
    )
    assert plain["cases"] == hand["cases"] == 24
    gpu = result("gpu-h100-2026-11-26")
    case = gpu["parts"]["steps"]["results"]["ResNet-50, 224 px, batch 128, mixed_bfloat16"]
    ours, plain = (case[name]["time_over_hand"] for name in ("keras_dawn", "plain Keras"))
    yield (
        f"{ours:.2f} of the time of a loop by hand; plain Keras {plain:.2f}",
        f"{machine(gpu)}, 7 rounds",
    )
    later = result("gpu-h200-2026-11-27-afternoon")
    first, second = gpu["wrn_dawnbench_1gpu"], later["parts"]["recipe"]["results"].values()
    *others, best = sorted([*first, *second], key=lambda run: run["test_accuracy"])
    one, two, three = (f"{run['test_accuracy']:.2f}" for run in others)
    assert len(first) == len(second) == 2 and float(three) < 94
    yield (
        f"{best['test_accuracy']:.2f} % after {best['training_seconds']:.1f} s in one of four "
        f"runs; {one}, {two} and {three} % in the others",
        f"{machine(gpu)}, {machine(later)}, 2 runs each",
    )
    folder = ROOT / "benchmarks" / "records" / "2026-11-28_pairs_two_cores_bfloat16"
    record = json.loads((folder / "runs.json").read_text(encoding="utf-8"))
    own, loop = (record["runs"][name] for name in ("keras_dawn", "airbench94, plain torch"))
    assert [run["seed"] for run in own] == [run["seed"] for run in loop]
    mean, its = (statistics.mean(run["accuracy_tta"] for run in runs) for runs in (own, loop))
    pairs = sorted(mine["seconds"] / one["seconds"] for mine, one in zip(own, loop, strict=True))
    yield (
        f"{mean:.2f} % on average (the loop {its:.2f} %), in {statistics.median(pairs):.2f} of the "
        f"loop's time (median of the pairs, {pairs[0]:.2f} to {pairs[-1]:.2f}); by rates about "
        f"{over_the_quickest_loop('record-rates-cpu-2026-11-27', 8)} of the quickest loop's, "
        f"Hiverge's, and {over_the_quickest_loop('record-rates-epyc-cpu-2026-11-28', 9)} on an AMD "
        "EPYC",
        f"{machine(record)} among loud neighbours; {len(own)} pairs in turn",
    )
    record = result("record-cpu_hardest-2026-11-26")
    accuracy, ratios, runs = beside_the_loop(record)
    yield (
        f"{accuracy:.2f} % on average, in {statistics.median(ratios):.2f} of the time of that "
        "loop in float32; in bfloat16 that loop takes about as long as ours in float32, by rates",
        f"{machine(record)}, {runs}; the loop 1",
    )
    runs = gpu["parts"]["seeds"]["runs"]["runs"]
    own, loop = (runs[name] for name in ("keras_dawn", "airbench94_muon, plain torch"))
    mean, its = (statistics.mean(run["accuracy_tta"] for run in runs) for runs in (own, loop))
    times = [statistics.median(run["seconds"] for run in runs) for runs in (own, loop)]
    yield (
        f"{mean:.2f} % on average (the loop {its:.2f} %), in {times[0] / times[1]:.2f} times the "
        "loop's time (medians): slower",
        f"{machine(gpu)}; {len(own)} runs, the loop {len(loop)}",
    )
    growing = result("resizing-cpu-2026-11-23")
    kinds = [growing["results"][kind] for kind in ("progressive", "constant")]
    means = [kind["mean_accuracy"] for kind in kinds]
    yield (
        f"{means[0]:.2f} % against {means[1]:.2f} %, in {growing['ratio']:.2f} of the time",
        f"4,600 photos of dogs, {machine(growing)}, {len(kinds[0]['accuracies'])} seeds",
    )
    beside = result("versus-fastai-cpu-2026-11-27")
    ratios = [row["ratio"] for row in beside["rows"]]
    mean, spread = statistics.mean(ratios), statistics.stdev(ratios)
    finals = [round(row["fastai_accuracy"]) for row in beside["rows"]]
    yield (
        f"fastai's final accuracy ({min(finals)} to {max(finals)} %) in {mean:.2f} ± {spread:.2f} "
        "of its time",
        f"4,600 photos of dogs, {machine(beside)}, {len(ratios)} seeds",
    )
    for kind, flag in zip(kinds, ("progressive_epochs=11", "epochs=8"), strict=True):
        assert len(kind["runs"][0]) == int(flag.split("=")[1])
        assert f"--{flag}" in growing["command"]


def test_the_first_table_quotes_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("\n\n")[2]
    cells = [tuple(line.strip("| ").split(" | ")[1:]) for line in table.splitlines()[2:]]
    assert cells == list(measured())
    assert "404 s on a V100" in table  # as on the board of 2018
    assert any("WRN-22-6" in str(row) and "404.08" in str(row) for row in boards.CIFAR10_BOARD)


def quoted_elsewhere():
    """`(page, text)` of numbers that other pages quote."""
    gpu = result("gpu-h100-2026-11-26")
    best = max(gpu["wrn_dawnbench_1gpu"], key=lambda run: run["test_accuracy"])
    entry = f"{best['test_accuracy']:.2f} % after {best['training_seconds']:.1f} s"
    for page in ("benchmarks/README.md", "recipes/site/claims.md", "recipes/cifar10_wrn.py"):
        yield page, entry
    later = result("gpu-h200-2026-11-27-afternoon")
    for case, runs in later["parts"]["steps"]["results"].items():
        name, size, batch, policy = case.split(", ")
        cells = [f"{name}, {batch.split()[1]} × {size}, {policy.removeprefix('mixed_')}"]
        columns = "keras_dawn", "keras_dawn, no graph", "hand, CUDA graph", "plain Keras"
        cells += [f"{runs[column]['time_over_hand']:.2f}" for column in columns]
        yield "benchmarks/README.md", " | ".join([*cells, str(runs["keras_dawn"]["rounds"])])
    for run in later["parts"]["recipe"]["results"].values():
        seconds = f"{run['training_seconds']:.1f}"
        for page in ("benchmarks/README.md", "recipes/site/claims.md", "recipes/cifar10_wrn.py"):
            yield page, f"{run['test_accuracy']:.2f} % after {seconds} s"
    finals = result("compare-cpu-2026-11-24")["final"]
    for name in ("one-cycle", "step", "constant"):
        mean, spread = (finals[name][key] for key in ("mean", "standard_deviation"))
        yield "benchmarks/README.md", f"{mean:.2f} % ± {spread:.2f}"
        yield "recipes/site/claims.md", f"{mean:.2f} % ± {spread:.2f}"
        yield "recipes/compare.py", f"{mean:.2f} % ± {spread:.2f}"
    plans = result("few-photos-cpu-2026-11-27")["runs"]
    few = [100 * run["accuracy_with_flips"]["128 px"] for run in plans]
    yield "README.md", f"({few[-1]:.1f} % with flips, one seed"
    yield "benchmarks/README.md", f"come to {few[0]:.1f} % in {plans[0]['processor_seconds']:.0f} s"
    step = result("step-cpu-2026-11-23")["results"]
    train = [case["ratios"] for name, case in step.items() if name.endswith("train")]
    train = [ratios for ratios in train if "hand, NCHW" in ratios]
    hand = [ratios["keras_dawn"] for ratios in train]
    plain = [ratios["keras_dawn"] / ratios["plain Keras"] for ratios in train]
    claims = "recipes/site/claims.md"
    yield claims, f"{min(hand):.2f} to {max(hand):.2f} of the best hand-written loop's time"
    yield claims, f"{min(plain):.2f} to {max(plain):.2f} of plain Keras's"


@pytest.mark.parametrize("page, text", list(quoted_elsewhere()))
def test_other_pages_quote_the_results(page, text):
    assert text in re.sub(r"\s+", " ", (ROOT / page).read_text(encoding="utf-8").replace("**", ""))


def test_the_pages_name_results_that_are_there():
    for page in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        for name in re.findall(r"results/[\w./-]+", page.read_text(encoding="utf-8")):
            assert (ROOT / "benchmarks" / name.rstrip("./")).exists(), name
