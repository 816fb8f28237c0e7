r"""The record recipe against published records as plain torch loops: time ratio and mean accuracy.

    python benchmarks/record.py --data_dir=FOLDER --runs=5 --json=FILE
    python benchmarks/record.py --data_dir=FOLDER --runs=5 --json=FILE --preset=cpu_hardest \
        --peer=airbench94 --peer=hiverge --peer_precision=float32 --peer_precision=mixed_bfloat16

All train on the same machine in the same process, in turn; ours in `--precision` (`auto`: the best
of the processor), each `--peer` in each `--peer_precision`, or in ours. Ours is
`recipes/cifar10_record.py`'s own `train`, and each of its runs leaves its run folder and DAWNBench
entry. Times are those of whitening and training, data resident on the device, no warm-up before the
first (on a GPU a sitting's first run, which is a loop's, is the slower for it: 2.5 s for 1.8 on an
H100); accuracies are those of several views. A peer is airbench94, its variant with Muon, or
Hiverge's successor of that, each published with 94.01 % on average, or a loop of one's own that
`plain_loops.py` has. None is compiled, though the published times of the last two are of compiled
code (the whole network and Muon's iteration there, the training step here); `record_rates.py
--compiled` tells whether a compiled network is quicker. Normalising, padding and the first flips of
all images lie before a loop's clock (inside it in the publications), and inside ours.

Each seed trains every loop and then ours, so that the runs alternate and what else the machine does
meets both. `--peer_runs` says how often each loop runs, by default as often as ours: a loop that
ran once has neither a mean accuracy nor a time to be relied on. The ratios printed at last are over
the median time of each loop, and of the pairs of one seed. `record_rates.py` says in minutes what
whole runs would take.

A results file that exists is continued: its runs count and are not repeated, so that what takes
hours may take several sittings. Settings, versions and hardware must be the same, and so must the
processor's instructions, the table of convolutions and the commit. How many runs are planned is
written before the first; another number in a later sitting is a second plan. `--first_runs` makes
the first of them alone, for a sitting. A run that was cut off has no time: its seed is run again
from its beginning (`--checkpoints` is refused), and what it has left is moved aside, to
`seed3_cut_off1`. How often that happened is in the file, which has when each run began. Where there
is no git, `--commit` says the commit.

A run of airbench94's loop took 26 minutes on two cores of an AMD EPYC, in float32. The preset
`smoke` has both sides train on 1,024 images, in about a minute, to see that all works; it compares
nothing.
"""

import dataclasses
import json
import sys
from pathlib import Path

from keras_dawn import TrainingClock
from keras_dawn.data.choose import choose_dataset
from keras_dawn.foundation.precision import PRECISIONS
from keras_dawn.native.allocator import keep_freed_memory

import torch
from absl import app, flags
from plain_loops import LOOPS
from record_results import (
    describe,
    earlier_runs,
    folder_of_all,
    folder_of_run,
    now,
    why_not_submitted,
)
from record_summary import table_of, time_ratios, told
from rich.console import Console
from submission_names import DEFAULT_PRESET
from submission_times import told_plan

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
import cifar10_record

from recipe_parts import command_line, run_files, run_flags
from recipe_parts.record_network import ways

FLAGS = flags.FLAGS


def ours(preset, images, seed, folder, loaded, prices):
    """Seconds and accuracies in percent of one run of the recipe."""
    own = folder_of_run(folder / f"seed{seed}")
    result = cifar10_record.train(preset, images, seed, own, TrainingClock(loaded))
    result.description.update(recipe="cifar10_record", preset=FLAGS.preset)
    run_files.save(result, own, prices, FLAGS.author, FLAGS.author_email)
    return {
        "seconds": result.description["clocks"]["training"],
        "dawnbench_seconds": result.timer.records[-1].training_seconds,
        "accuracy": result.description["accuracy_without_views"],
        "accuracy_tta": result.timer.records[-1].accuracy,
    }


def loops(names, precisions, ours):
    """The plain loops to run: dict from what each is called to its name and precision."""
    return {
        f"{name}, plain torch" + ("" if precision == ours else f", {precision}"): (name, precision)
        for name in names
        for precision in precisions or [ours]
    }


def turns(first, runs, peer_runs, first_runs, loops):
    """Whose run comes when, up to the end of this sitting: pairs of a name and a seed.

    Each seed trains the loops, then ours: what else the machine does meets all of them.
    """
    for seed in range(first, first + (runs if first_runs is None else min(runs, first_runs))):
        for name in loops if seed < first + peer_runs else ():
            yield name, seed
        yield "keras_dawn", seed


def peer(name, images, seed, precision):
    """The same of a plain loop."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sets = [
        (torch.tensor(pixels, device=device), torch.tensor(labels, device=device))
        for pixels, labels in (
            (images.train_images, images.train_labels),
            (images.test_images, images.test_labels),
        )
    ]
    return LOOPS[name].train(*sets, seed, precision, log=lambda text: print(text, flush=True))


def main(arguments):
    keep_freed_memory()  # for both

    def write():
        if FLAGS.json:
            Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def begun(name, seed):
        if "begun" in document:
            document["begun"].setdefault(name, []).append({"seed": seed, "at": now()})
            write()

    def note(name, seed, result):
        runs[name].append({"seed": seed, "ended": now(), **result})
        print(name, runs[name][-1], flush=True)  # as in the file: submissions compare the two
        write()

    try:  # before anything is trained
        if FLAGS.checkpoints:
            raise ValueError("Whole runs are timed: leave --checkpoints out.")
        preset = cifar10_record.PRESETS[FLAGS.preset]
        run_flags.choose_algorithms()
        precision = run_flags.read_precision(preset.precision)
        preset = dataclasses.replace(preset, precision=precision)
        peer_runs = FLAGS.runs if FLAGS.peer_runs is None else FLAGS.peer_runs
        document = describe(preset, FLAGS.seed, FLAGS.runs, peer_runs, FLAGS.commit)
        (plan,) = document["planned"]
        document["preset"] = FLAGS.preset
        earlier = earlier_runs(FLAGS.json, document) if FLAGS.json else {}
        peers = loops(FLAGS.peer, FLAGS.peer_precision, precision)
        runs = document["runs"] = {"keras_dawn": [], **{name: [] for name in peers}, **earlier}
        if "begun" in document:
            document["begun"] = {**{name: [] for name in runs}, **document["begun"]}
        prices = run_flags.read_prices()
        run_flags.check_given()
        write()
        clock = TrainingClock()
        images, _ = choose_dataset("cifar10", FLAGS.data_dir, clock.paused)
        if preset.train_images:
            images = images.subset(preset.train_images, preset.test_images)
        loaded = clock.training_seconds()
        path = FLAGS.output_dir or run_flags.new_folder("record", images.name, FLAGS.preset)
        folder = folder_of_all(path, earlier, document.get("begun", {}))
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from None
    print(f"Preset {FLAGS.preset}: {ways(preset)}.", flush=True)
    print(told_plan(plan), flush=True)
    if why := why_not_submitted(document):
        print(why, flush=True)
    for name, seed in turns(FLAGS.seed, FLAGS.runs, peer_runs, FLAGS.first_runs, peers):
        if any(run["seed"] == seed for run in runs[name]):
            continue
        begun(name, seed)
        if name == "keras_dawn":
            note(name, seed, ours(preset, images, seed, folder, loaded, prices))
        else:
            loop, own = peers[name]
            note(name, seed, peer(loop, images, seed, own))
    Console().print(table_of(runs, images))
    document["time_ratios"] = time_ratios(runs, document["settings"])
    if preset.train_images:
        print(f"The preset {FLAGS.preset} is small and compares nothing: no ratios of times.")
    for name, found in document["time_ratios"].items():
        print(told(name, found))
    write()


if __name__ == "__main__":
    run_flags.define_common(94.0)
    flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
    flags.DEFINE_enum("preset", DEFAULT_PRESET, list(cifar10_record.PRESETS), "settings of ours")
    flags.DEFINE_multi_enum("peer", ["airbench94"], list(LOOPS), "the plain torch loops")
    flags.DEFINE_multi_enum(
        "peer_precision", [], PRECISIONS[1:], "dtype policies of the loops; by default ours"
    )
    flags.DEFINE_integer(
        "peer_runs", None, "runs of each plain loop, one before each of ours; by default as many", 0
    )
    flags.DEFINE_string("commit", None, "this project's commit, where there is no git to say it")
    flags.DEFINE_integer(
        "first_runs", None, "how many of the planned runs to make by now; by default all", 1
    )
    flags.DEFINE_string("json", None, "results file, written anew after every run, or continued")
    command_line.run(main)
