"""Every number in the README's first table is the one in the JSON that it was measured into."""

import json
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"


def result(name):
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def measured():
    """The cells of the table's second column, made of the results."""
    step = result("step-cpu-2026-11-23")["results"]["resnet18, host-bound, train"]["ratios"]
    yield (
        f"{step['keras_dawn']:.2f} of the best hand-written PyTorch loop's time; "
        f"plain Keras {step['plain Keras']:.2f}"
    )
    gpu = result("gpu-h100-2026-11-26")
    case = gpu["parts"]["steps"]["results"]["ResNet-50, 224 px, batch 128, mixed_bfloat16"]
    ours, plain = (case[name]["time_over_hand"] for name in ("keras_dawn", "plain Keras"))
    yield f"{ours:.2f} of the loop's; plain Keras {plain:.2f}"
    other, best = sorted(gpu["wrn_dawnbench_1gpu"], key=lambda run: run["test_accuracy"])
    yield (
        f"{best['test_accuracy']:.2f} % after {best['training_seconds']:.1f} s; "
        f"another seed {other['test_accuracy']:.2f} %"
    )
    runs = result("record-cpu_hardest-2026-11-26")["runs"]
    accuracies = [run["accuracy_tta"] for run in runs["keras_dawn"]]
    seconds = statistics.median(run["seconds"] for run in runs["keras_dawn"])
    (loop,) = runs["airbench94, plain torch"]
    yield (
        f"{statistics.mean(accuracies):.2f} % on average, in {seconds / loop['seconds']:.2f} of "
        "the time of airbench94's loop"
    )
    growing = result("resizing-cpu-2026-11-23")
    means = [growing["results"][kind]["mean_accuracy"] for kind in ("progressive", "constant")]
    yield f"{means[0]:.2f} % in place of {means[1]:.2f} %, in {growing['ratio']:.2f} of the time"


def test_the_first_table_quotes_the_results():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    table = readme.split("\n\n")[2]
    cells = [line.split(" | ")[1] for line in table.splitlines()[2:]]
    assert cells == list(measured())


def test_the_pages_name_results_that_are_there():
    for page in (ROOT / "README.md", ROOT / "benchmarks" / "README.md"):
        for name in re.findall(r"results/[\w./-]+", page.read_text(encoding="utf-8")):
            assert (ROOT / "benchmarks" / name.rstrip("./")).exists(), name
