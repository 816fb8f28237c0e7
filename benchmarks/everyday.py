"""Everyday Keras models: accelerated, plain, and as loops of PyTorch by hand.

    python benchmarks/everyday.py --json=FILE --picture=FILE
    python benchmarks/everyday.py --only="LSTM text" --rounds=5
    python benchmarks/everyday.py --tiny

The models are those of keras.io and of KerasHub (where that is installed). Each has a twin by hand
but some of KerasHub's, whose measure is plain Keras alone: `torch.nn`'s fused recurrent kernels,
`scaled_dot_product_attention`, channels_last memory, fused optimizers, loss and metrics on the
device. Where a twin may take several forms (channels_last or not, series as images of one row,
attention fused or written out, a penalty as Adam's decay, bfloat16 by autocast or by a copy of the
network: `everyday_variants.py`, `everyday_half.py`) all are tried and the quickest counts. That
each form computes the same is checked first, of the small size in float32: outputs, loss and
metrics, and where nothing is drawn at random three training steps.

Each case is trained and predicts in a *small* size, in which Python is what takes time, on one
thread, and in a *large* one, in which arithmetic is; in float32 and in bfloat16. All contestants of
a case live in one process and take turns of the same number of steps (plain Keras fewer where its
turn would be five times as long as ours); in each round their times are divided; the table shows
the median over the rounds, the smallest and the largest. *n/t* is accelerated over by hand, *n/p*
accelerated over plain Keras and, with `--compiled`, *c/t* accelerated and compiled over by hand.
The JSON is written after each case, so that nothing is lost when time is up.
"""

import json
import statistics
import time
import traceback
from pathlib import Path

import keras_dawn  # noqa: F401  (chooses the backend)
from keras_dawn.dawnbench.records import environment

import command_line
import step_flags
import torch
from absl import flags
from everyday_cases import all_cases
from everyday_measure import PHASES, RATIOS, check, measure
from everyday_twins import DEVICE, LARGE, SMALL
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_bool("compiled", False, "ours under torch.compile, too")
flags.DEFINE_list("sizes", ["small", "large"], "sizes of the cases")
flags.DEFINE_list("policies", ["float32", "mixed_bfloat16"], "dtype policies")
flags.DEFINE_float("seconds", 0.1, "how long a turn of the loop by hand takes", lower_bound=0)
flags.DEFINE_enum(
    "clock", "perf_counter", ["perf_counter", "process_time"],
    "process_time: the processor's, for a machine on which other work runs, without a GPU",
)  # fmt: skip
flags.DEFINE_float("max_minutes", None, "no case begins later", lower_bound=0)
flags.DEFINE_string("picture", None, "file to draw the ratios to")
flags.DEFINE_bool("tiny", False, "every case small, one short round, to test the script")
command_line.takes_some_of_its_default("sizes", "policies")


def cases(scale):
    """The `Case`s whose name contains `--only`."""
    return step_flags.chosen(all_cases(scale), lambda case: case.name)


def run(write):
    """Checks and measures every case; calls `write(results)` after each."""
    results, began = {}, time.perf_counter()
    cores = torch.get_num_threads()
    for policy in ["float32"] if FLAGS.tiny else FLAGS.policies:
        for size in ["small"] if FLAGS.tiny else FLAGS.sizes:
            torch.set_num_threads(1 if size == "small" else cores)
            for case in cases(SMALL if size == "small" else LARGE):
                if FLAGS.max_minutes and time.perf_counter() - began > 60 * FLAGS.max_minutes:
                    return results
                name = f"{case.name}, {size}, {policy}"
                results[name] = _measured(case, policy, check_it=size == "small")
                print(name, _line(results[name]), flush=True)
                write(results)
    torch.set_num_threads(cores)
    return results


def _measured(case, policy, check_it):
    rounds, seconds = (1, 0) if FLAGS.tiny else (FLAGS.rounds, FLAGS.seconds)
    try:
        apart = check(case) if check_it and policy == "float32" else None
        clock = getattr(time, FLAGS.clock)
        found = measure(case, policy, rounds, seconds, clock=clock, compiled=FLAGS.compiled)
        return {"apart": apart, **found}
    except Exception as error:  # reported, whatever it is; the other cases are measured
        traceback.print_exc()
        return {"error": repr(error)[:500]}
    finally:
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def _line(result):
    if "error" in result:
        return result["error"]
    return "; ".join(
        f"{phase} " + ", ".join(f"{key} {_cell(result[phase], key)}" for key in _columns())
        for phase in PHASES
    )


def _columns():
    return RATIOS if FLAGS.compiled else RATIOS[:2]


def _cell(found, key):
    if key not in found:
        return ""
    return "{:.2f} ({:.2f} to {:.2f})".format(*found[key])


def summary(results):
    """Geometric means and the largest ratio, by size, policy, phase and way, as rows."""
    rows = {}
    for name, result in results.items():
        _, size, policy = name.rsplit(", ", 2)
        for phase in PHASES:
            for key in RATIOS:
                if key in result.get(phase, ()):
                    way = "by layer" if result["own_python"] else "by graph"
                    group = rows.setdefault(f"{phase}, {size}, {policy}, {way}, {key}", {})
                    group[name] = result[phase][key][0]
    return {
        title: {
            "geometric_mean": statistics.geometric_mean(group.values()),
            "largest": max(group.values()),
            "case": max(group, key=group.get).rsplit(", ", 2)[0],
            "cases": len(group),
        }
        for title, group in rows.items()
    }


def print_tables(results):
    console = Console(width=150, markup=False, emoji=False)  # brackets of an error are no markup
    legend = "n/t: accelerated over by hand; n/p: over plain Keras; c/t: compiled over by hand"
    title = "time of a step: median over the rounds (smallest to largest)"
    table = Table(title=title, caption=legend)
    for column in ("case", *(f"{phase}, {key}" for phase in PHASES for key in _columns())):
        table.add_column(column)
    for name, result in results.items():
        if "error" in result:
            table.add_row(name, result["error"])
            continue
        cells = (_cell(result[phase], key) for phase in PHASES for key in _columns())
        table.add_row(name, *cells)
    console.print(table)
    means = Table("all cases", "geometric mean", "largest", "of", "cases")
    for title, row in summary(results).items():
        numbers = f"{row['geometric_mean']:.2f}", f"{row['largest']:.2f}"
        means.add_row(title, *numbers, row["case"], str(row["cases"]))
    console.print(means)


def main(argv):
    def write(results):
        if FLAGS.json:
            document = {
                **environment(), "device": DEVICE, "rounds": FLAGS.rounds, "tiny": FLAGS.tiny,
                "summary": summary(results), "results": results,
            }  # fmt: skip
            text = json.dumps(document, indent=1) + "\n"
            Path(FLAGS.json).write_text(text, encoding="utf-8")

    results = run(write)
    print_tables(results)
    if FLAGS.picture:
        from everyday_picture import draw

        draw(results, FLAGS.picture)
    failed = [name for name, result in results.items() if "error" in result]
    return f"failed: {'; '.join(failed)}" if failed else 0


if __name__ == "__main__":
    command_line.run(main)
