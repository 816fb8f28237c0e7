"""Each at its best precision, by rates: what whole runs of the record and of its peers would take.

    python benchmarks/record_rates.py --json=FILE
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/record_rates.py --json=FILE  # a rehearsed processor

Each round times some training steps of every contestant in turn: presets of the record recipe at
each of their image sizes, and the plain loops, all in float32 and, where the processor may use it,
in bfloat16; steps that train the stem's bias, whose gradient costs a convolution, apart from those
that do not. The first step of a turn is dropped; a rate is the median of the rounds. A whole run's
time is that of its images at these rates: of a loop all its steps, of ours the epochs at each size,
those on the hardest images with their part of them; without evaluation. A loop's steps are timed on
one batch, without its crops, gathering and slow weights; ours with all that a `fit` does. Whole
runs with their accuracies are `record.py`'s. `--compiled` adds each loop with its network under
`torch.compile`, whose compilation is in the first round, which is dropped.

A round of all takes minutes on two cores; `--peer=airbench94 --preset=cpu --rounds=1 --steps=2` is
a short look. The preset `smoke` is of another size than the loops, which its ratio does not tell.
Contestants are in `record_contestants.py`.
"""

import functools
import json
import os
import statistics
import sys
from pathlib import Path

from keras_dawn.dawnbench.records import environment
from keras_dawn.foundation.counted import counted
from keras_dawn.foundation.precision import has_bfloat16
from keras_dawn.native.allocator import keep_freed_memory

import command_line
import keras
import torch
from absl import app, flags
from plain_loops import LOOPS
from record_contestants import of_loop, of_preset
from record_results import instructions
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
import cifar10_record

FLAGS = flags.FLAGS


def told_beforehand(contestants, rounds, steps):
    """What will be timed, in a few lines."""
    turns = sum(len(one.images) for one in contestants)
    lines = [f"{one.name} ({one.ways}): {', '.join(map(str, one.images))}" for one in contestants]
    found = counted(rounds, "round")
    lines += [f"{turns} turns of {steps} steps a round, {found} after one that is dropped."]
    return "\n".join(lines)


def measure(contestants, rounds, after_round=lambda rates: None):
    """Images a second of each contestant at each of its parts, one list of rounds for each.

    Args:
        contestants: list of `Contestant`.
        rounds: int, those that count.
        after_round: callable that takes the rates so far, called after each of them.
    """
    turns = [(one, part, one.make_turn(part)) for one in contestants for part in one.images]
    rates = {one.name: {part: [] for part in one.images} for one in contestants}
    for number in range(rounds + 1):  # the first is for warming up
        for one, part, turn in turns:
            ends = turn()
            rate = one.batch_size * (len(ends) - 1) / (ends[-1] - ends[0])
            print(f"round {number}: {one.name}, {part}: {rate:.0f} images/s", flush=True)
            if number:
                rates[one.name][part].append(rate)
        if number:
            after_round(rates)
    return rates


def whole_run(images, rates):
    """Seconds that a training takes at the median rates."""
    return sum(count / statistics.median(rates[part]) for part, count in images.items())


def seconds_by_rates(contestants, rates):
    """Seconds of a whole run of each contestant, by its name."""
    return {one.name: whole_run(one.images, rates[one.name]) for one in contestants}


def fastest_loop(seconds):
    """The name of the plain loop that takes the fewest."""
    return min((name for name in seconds if "plain torch" in name), key=seconds.get)


def write(contestants, rates):
    """Write the results file with the rounds so far."""
    if not FLAGS.json:
        return
    seconds = seconds_by_rates(contestants, rates)
    document = {
        **environment(),
        "instructions": instructions(),
        "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "load": os.getloadavg(),
        "steps": FLAGS.steps,
        "ways": {one.name: one.ways for one in contestants},
        "images": {one.name: _told(one.images) for one in contestants},
        "images_per_second": {name: _told(found) for name, found in rates.items()},
        "seconds_by_rates": seconds,
        "fastest_loop": fastest_loop(seconds),
    }
    Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def main(arguments):
    if keras.backend.backend() != "torch" or torch.cuda.is_available():
        raise app.UsageError("Rates are of a processor; gpu.py measures GPUs.")
    if FLAGS.json and not Path(FLAGS.json).absolute().parent.is_dir():
        raise app.UsageError(f"The folder of --json={FLAGS.json} is not there: make it first.")
    keep_freed_memory()
    precisions = ["float32"] + ["mixed_bfloat16"] * has_bfloat16()
    contestants = [
        of_loop(name, one, FLAGS.steps, compiled)
        for name in FLAGS.peer
        for one in precisions
        for compiled in ([False, True] if FLAGS.compiled else [False])
    ]
    contestants += [
        of_preset(name, one, FLAGS.steps) for name in FLAGS.preset for one in precisions
    ]
    print(told_beforehand(contestants, FLAGS.rounds, FLAGS.steps), flush=True)
    rates = measure(contestants, FLAGS.rounds, functools.partial(write, contestants))
    seconds = seconds_by_rates(contestants, rates)
    fastest = fastest_loop(seconds)
    table = Table(title=f"Whole runs by rates, medians of {FLAGS.rounds}, over {fastest}")
    for column in ("", "ways", "images/s", "seconds", "ratio"):
        table.add_column(column, overflow="fold")
    for one in contestants:
        told = "; ".join(
            f"{part}: {statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f})"
            for part, found in rates[one.name].items()
        )
        ratio = seconds[one.name] / seconds[fastest]
        table.add_row(one.name, one.ways, told, f"{seconds[one.name]:.0f}", f"{ratio:.2f}")
    Console(width=160).print(table)


def _told(by_part):
    return {str(part): value for part, value in by_part.items()}


if __name__ == "__main__":
    presets = list(cifar10_record.PRESETS)
    flags.DEFINE_multi_enum("preset", ["cpu", "cpu_hardest"], presets, "settings of ours")
    flags.DEFINE_multi_enum("peer", list(LOOPS), list(LOOPS), "the plain torch loops")
    flags.DEFINE_boolean("compiled", False, "each loop under torch.compile too")
    flags.DEFINE_integer("steps", 4, "steps of a turn, the first of which is dropped", 2)
    flags.DEFINE_integer("rounds", 3, "rounds, after one that is dropped", 1)
    flags.DEFINE_string("json", None, "results file, written anew after every round")
    command_line.run(main)
