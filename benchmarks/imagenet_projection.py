r"""What published trainings on ImageNet would take on a GPU whose steps were measured: projections.

    python benchmarks/imagenet_projection.py --results=benchmarks/results/gpu-h100-2026-11-26.json
    python benchmarks/imagenet_projection.py --results=FILE --price_per_hour=USD \
        --price_source=WHERE

`FILE` is what `gpu.py` has written, with the rates of ResNet-50's training steps, 128 images each,
at the sizes of a plan. Nothing is measured here and no photo is read: hours are all of a plan's
images over these rates, if eight GPUs work eight times as fast as one, decoding keeps up and
validation takes nothing. `--price_per_hour` is of a machine of eight.
"""

import json
import sys
from pathlib import Path

import command_line
import gpu_report
from absl import flags
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
# Photos a second and core by the short side of the copies (none: originals) and the crop's pixels,
# as benchmarks/README.md has them of an AMD EPYC; 288 px was not measured.
DECODED = {(160, 128): 3_970, (352, 224): 1_363, (None, 128): 1_001, (None, 224): 815}


def main(arguments):
    if (FLAGS.price_per_hour is None) != (not FLAGS.price_source):
        sys.exit("--price_per_hour and --price_source, where the price is from, need each other.")
    try:
        document = json.loads(Path(FLAGS.results).read_text(encoding="utf-8"))
        document["parts"]["steps"]["results"], document["hardware"]["gpus"]
    except OSError as error:
        sys.exit(f"--results: {error}")
    except (ValueError, KeyError, TypeError):
        sys.exit(f"--results: {FLAGS.results} is no file of gpu.py with the part `steps`")
    Console(width=120).print(table(document, FLAGS.price_per_hour))
    print(f"PROJECTIONS, not measurements; assumed: {gpu_report.EFFICIENCY}.")
    if FLAGS.price_per_hour is not None:
        print(f"USD {FLAGS.price_per_hour:g} an hour for eight: {FLAGS.price_source}.")


def table(document, price_per_hour=None):
    """A row for each plan and precision: hours on one GPU and on eight, USD, cores that decode.

    Cores are "at least" (≥) where the decoding of some of a plan's sizes was not measured.

    Args:
        document: of `gpu.json`.
        price_per_hour: USD of eight GPUs together, or `None`.
    """
    import keras_dawn

    gpu = ", ".join(document["hardware"]["gpus"]) or document["hardware"]["processor"]
    made = Table(title=f"ImageNet by ResNet-50's measured steps, projected ({gpu})")
    for column in ("plan", "precision", "epochs", "hours on 1", "hours on 8", "USD", "cores, 8"):
        made.add_column(column)
    for name, plan in keras_dawn.PLANS.items():
        if name == "small_128":  # of another network
            continue
        price = None if price_per_hour is None else price_per_hour / 8
        for policy, found in gpu_report.projection(document, price, plan).items():
            if "hours_on_1_gpu" not in found:
                ((said, sizes),) = found.items()
                made.add_row(name, policy, str(plan.epochs), f"{said} {sizes}")
                continue
            rates = gpu_report.rates(document, policy, plan)
            read = {(phase.crops.copies, phase.image_size) for phase in plan.phases}
            cores = [8 * rates[key[1]] / DECODED[key] for key in read if key in DECODED]
            made.add_row(
                name,
                policy,
                str(plan.epochs),
                f"{found['hours_on_1_gpu']:.2f}",
                f"{found['hours_on_8_gpus']:.3f}",
                f"{found['usd']:.2f}" if "usd" in found else "",
                _at_least(len(cores) < len(read)) + f"{max(cores):.0f}" if cores else "",
            )
    return made


def _at_least(is_so):
    return "≥ " if is_so else ""


if __name__ == "__main__":
    flags.DEFINE_string("results", None, "results file of gpu.py", required=True)
    flags.DEFINE_float("price_per_hour", None, "USD an hour of a machine with eight such GPUs", 0.0)
    flags.DEFINE_string("price_source", None, "where the price is from")
    command_line.run(main)
