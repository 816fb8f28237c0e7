"""What the project claims about GPUs, part after part in the order of their worth.

    python benchmarks/gpu.py --data_dir=FOLDER_WITH_CIFAR10 --out=FOLDER --max_minutes=6

Each part runs in a process of its own and writes `FOLDER/<part>.json` after each case, so that
neither an error nor the end of the time loses what was measured: a part that fails or runs over
ends alone. `FOLDER/gpu.json` holds all of them; a second call with the same folder goes on with the
parts that have no results yet. Run folders of the recipes lie in `--runs_dir`.

* `checks`: `gpu_checks.py`, correctness that a processor cannot show.
* `steps`: training steps of WRN-22-6 (32 px) and ResNet-50 (224, then 128 and 288 px) in bfloat16
  and float16: ours under `fit` with and without CUDA graphs, plain Keras, and hand-written loops
  (channels_last, fused SGD, autocast) with and without a CUDA graph, interleaved, 7 rounds.
* `record`: one seed of the record recipe and one of airbench94's Muon variant as a plain loop.
* `recipe`: the CIFAR-10 recipe with the settings of fast.ai's one-GPU entry.
* `compiled`: ResNet-50 at 224 px once more, beside the hand-written loop under `torch.compile`.
* `kernels`: what the profiler sees of a step.
* `seeds`: 20 more seeds of the record recipe and 4 of the loop.

`--tiny` runs all of it small, also on a processor, to see that the script itself is right.
"""

import json
import subprocess
import sys
import time
import traceback
from pathlib import Path

import keras_dawn
from keras_dawn.dawnbench.records import environment

import gpu_checks
import gpu_recipes
import gpu_steps
import torch
from absl import app, flags
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_bool("tiny", False, "small sizes, to test the script")
flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
flags.DEFINE_string("out", "gpu_results", "folder for the results; continued if it exists")
flags.DEFINE_string("runs_dir", "gpu_runs", "folder for the recipes' run folders")
flags.DEFINE_float("max_minutes", 10.0, "for all parts together", lower_bound=0.1)
flags.DEFINE_string("part", None, "runs this one part in this process")

NEED_DATA = ("record", "recipe", "seeds")


def checks(write):
    found = {}
    for check in gpu_checks.CHECKS:
        try:
            found[check.__name__] = {"passed": True, "found": check(gpu_steps.device())}
        except Exception as error:  # each check is to be reported, whatever it raises
            traceback.print_exc()
            found[check.__name__] = {"passed": False, "found": repr(error)[:2000]}
        write(found)


def steps(write):
    found = {}
    for title, ours, theirs, count, size, policy in gpu_steps.cases(FLAGS.tiny):
        name = f"{title}, batch {count}, {policy}"
        found[name] = gpu_steps.measure(ours, theirs, count, size, policy, tiny=FLAGS.tiny)
        print(name, {k: round(v.get("time_over_hand", -1), 3) for k, v in found[name].items()})
        write(found)
        torch.cuda.empty_cache()


def compiled(write):
    title, ours, theirs, count, size, policy = list(gpu_steps.cases(FLAGS.tiny))[:2][-1]
    result = gpu_steps.measure(
        ours, theirs, count, size, policy, tiny=FLAGS.tiny, compiled=not FLAGS.tiny
    )
    write({f"{title}, batch {count}, {policy}": result})


def kernels(write):
    found = {}
    for title, ours, _, count, size, policy in list(gpu_steps.cases(FLAGS.tiny))[:2]:
        name = f"{title}, batch {count}, {policy}"
        found[name] = gpu_steps.kernels_of_a_step(ours, count, size, policy)
        write(found)


def record(write):
    write(gpu_recipes.record(FLAGS.data_dir, Path(FLAGS.runs_dir), FLAGS.tiny, 1, 1))


def seeds(write):
    write(gpu_recipes.record(FLAGS.data_dir, Path(FLAGS.runs_dir), FLAGS.tiny, 21, 5))


def recipe(write):
    write(gpu_recipes.wrn(FLAGS.data_dir, Path(FLAGS.runs_dir), FLAGS.tiny))


PARTS = {part.__name__: part for part in (checks, steps, record, recipe, compiled, kernels, seeds)}


def run_parts(out, deadline):
    """Runs each part that has no results yet, until the deadline; returns all results."""
    document = {**environment(), "tiny": FLAGS.tiny, "parts": {}}
    path = out / "gpu.json"
    if path.exists():
        document["parts"] = json.loads(path.read_text(encoding="utf-8"))["parts"]
    for name in PARTS:
        if (document["parts"].get(name) or {}).get("results"):
            continue  # whole or cut off: the parts that have none come first
        if name in NEED_DATA and not FLAGS.data_dir:
            document["parts"][name] = {"state": "needs --data_dir"}
            continue
        left = deadline - time.perf_counter()
        if left < 10:
            document["parts"].setdefault(name, {"state": "no time left"})
            continue
        print(f"\n== {name}, {left:.0f} s left", flush=True)
        began = time.perf_counter()
        state = _run_part(name, left)
        file = out / f"{name}.json"
        document["parts"][name] = {
            "state": state,
            "seconds": round(time.perf_counter() - began, 1),
            "results": json.loads(file.read_text(encoding="utf-8")) if file.exists() else None,
        }
        path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return document


def _run_part(name, seconds):
    """Runs one part in a process of its own; returns how it ended."""
    flags_of_the_part = [f"--part={name}", f"--out={FLAGS.out}", f"--runs_dir={FLAGS.runs_dir}"]
    flags_of_the_part += [f"--data_dir={FLAGS.data_dir}"] if FLAGS.data_dir else []
    flags_of_the_part += ["--tiny"] if FLAGS.tiny else []
    try:
        code = subprocess.run(
            [sys.executable, __file__, *flags_of_the_part], timeout=seconds, check=False
        ).returncode
    except subprocess.TimeoutExpired:
        return f"cut off after {seconds:.0f} s"
    return "done" if code == 0 else f"failed with exit code {code}"


def projected(document):
    """Hours of fast.ai's 8-GPU plan on eight such GPUs, from the float16 rates; a projection."""
    rates = {}
    for size in (128, 224, 288):
        cases = (document["parts"].get("steps") or {}).get("results") or {}
        case = cases.get(f"ResNet-50, {size} px, batch 128, mixed_float16", {}).get("keras_dawn")
        if not case or "images_per_second" not in case:
            return None
        rates[size] = case["images_per_second"]
    costs = keras_dawn.PLANS["fastai_8gpu"].costs(1_281_167, 163_000, rates)
    return sum(cost.seconds for cost in costs) / 8 / 3600


def main(argv):
    out = Path(FLAGS.out)
    out.mkdir(parents=True, exist_ok=True)
    if FLAGS.part:
        path = out / f"{FLAGS.part}.json"
        PARTS[FLAGS.part](
            lambda found: path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        )
        return
    document = run_parts(out, time.perf_counter() + 60 * FLAGS.max_minutes)
    document["projected_hours_of_fastai_8gpu_on_8"] = projected(document)
    (out / "gpu.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print_tables(document)
    failed = [name for name, part in document["parts"].items() if "failed" in part["state"]]
    found = document["parts"]["checks"].get("results") or {}
    failed += [name for name, check in found.items() if not check["passed"]]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def print_tables(document):
    """States, checks, then timings, short."""
    console = Console(width=120)
    parts = document["parts"]
    for name, part in parts.items():
        console.print(f"{name}: {part['state']} ({part.get('seconds', 0)} s)")
    for name, check in (parts["checks"].get("results") or {}).items():
        console.print(f"{'passed' if check['passed'] else 'FAILED'}  {name}: {check['found']}")
    gpus = ", ".join(document["hardware"]["gpus"]) or "no GPU"
    table = Table(title=f"{gpus}: images/s (time over hand, MiB)")
    names = ("hand", "hand, CUDA graph", "keras_dawn, no graph", "keras_dawn", "plain Keras")
    for column in ("case", *names):
        table.add_column(column)
    for title, result in ((parts.get("steps") or {}).get("results") or {}).items():
        table.add_row(title, *(_cell(result.get(name, {})) for name in names))
    console.print(table)
    for name in ("record", "recipe", "seeds", "compiled"):
        console.print(name, (parts.get(name) or {}).get("results"))


def _cell(result):
    if "images_per_second" not in result:
        return result.get("error", "")[:60]
    return (
        f"{result['images_per_second']:,.0f} "
        f"({result['time_over_hand']:.2f}, {result['peak_mib']:,.0f})"
    )


if __name__ == "__main__":
    app.run(main)
