r"""The record recipe against published records as plain torch loops: time ratio and mean accuracy.

    python benchmarks/record.py --data_dir=FOLDER --runs=5 --json=FILE
    python benchmarks/record.py --data_dir=FOLDER --runs=5 --json=FILE --preset=cpu_hardest \
        --peer=airbench94 --peer=hiverge --peer_precision=float32 --peer_precision=mixed_bfloat16

All train on the same machine in the same process, in turn; ours in `--precision` (`auto`: the best
of the processor), each `--peer` in each `--peer_precision`, or in ours. Ours is
`recipes/cifar10_record.py`'s own `train`, and each of its runs leaves its run folder and DAWNBench
entry. Times are those of whitening and training, data resident on the device, no warm-up before
the first; accuracies are those of several views. A peer is airbench94, its variant with Muon, or
Hiverge's successor of that; each is published with 94.01 % on average. `--peer_runs` says how often
each runs. The ratio printed at last is over the fastest of them. `record_rates.py` says in minutes
what whole runs would take.

A results file that exists is continued: its runs count and are not repeated, so that what takes
hours may take several sittings. Settings, versions and hardware must be the same. A run that was
cut off is not counted: its seed is run again from its beginning (`--checkpoints` is refused), and
what it has left is moved aside, to `seed3_cut_off1`.

A run of airbench94's loop took 26 minutes on two cores of an AMD EPYC, in float32. The preset
`smoke` has both sides train on 1,024 images, in about a minute, to see that all works; it compares
nothing.
"""

import dataclasses
import datetime
import json
import statistics
import sys
from pathlib import Path

from keras_dawn import TrainingClock
from keras_dawn.data.choose import choose_dataset
from keras_dawn.dawnbench.records import RunFolder, environment
from keras_dawn.foundation.precision import PRECISIONS
from keras_dawn.native.allocator import keep_freed_memory

import airbench
import airbench_muon
import hiverge
import torch
from absl import app, flags
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
import cifar10_record

from recipe_parts import command_line, run_files, run_flags
from recipe_parts.record_network import ways

PEERS = {
    "airbench94": airbench.train,
    "airbench94_muon": airbench_muon.train,
    "hiverge": hiverge.train,
}
SAME = ("settings", "versions", "hardware")  # in all sittings of a results file
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
    return PEERS[name](*sets, seed, precision, log=lambda text: print(text, flush=True))


def earlier_runs(path, document):
    """The runs in the results file `path`, by whose they are; none if there is no such file.

    Raises:
        ValueError: no results file, or one of other settings, versions or hardware.
    """
    if not Path(path).exists():
        return {}
    try:
        earlier = json.loads(Path(path).read_text(encoding="utf-8"))
        # as a file holds them: keys are strings, tuples are lists
        for part, mine in json.loads(json.dumps({part: document[part] for part in SAME})).items():
            theirs = earlier[part]
            differ = [name for name in {**theirs, **mine} if theirs.get(name) != mine.get(name)]
            if differ:
                told = "; ".join(f"{n}: {theirs.get(n)}, here {mine.get(n)}" for n in differ)
                raise ValueError(
                    f"{path} has results of other {part} ({told}); name another file with --json."
                )
        return earlier["runs"]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a results file of this benchmark: {error!r}.") from None


def folder_of_all(path, earlier):
    """The folder for a folder of each run: a new one, or that of the `earlier_runs`.

    Raises:
        FileExistsError: there are no earlier runs, but files.
    """
    return Path(path) if any(earlier.values()) else RunFolder(path).path


def folder_of_run(path):
    """The `RunFolder` of a run; what one that was cut off has left there is moved aside."""
    if path.is_dir() and any(path.iterdir()):
        count = len(list(path.parent.glob(f"{path.name}_cut_off*")))
        path.rename(path.with_name(f"{path.name}_cut_off{count + 1}"))
    return RunFolder(path)


def main(arguments):
    keep_freed_memory()  # for both

    def write():
        if FLAGS.json:
            Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")

    def note(name, seed, result):
        ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        runs[name].append({"seed": seed, "ended": ended, **result})
        print(name, runs[name][-1], flush=True)
        write()

    def is_missing(name, seed):
        return all(run["seed"] != seed for run in runs[name])

    try:  # before anything is trained
        if FLAGS.checkpoints:
            raise ValueError("Whole runs are timed: leave --checkpoints out.")
        preset = cifar10_record.PRESETS[FLAGS.preset]
        run_flags.choose_algorithms()
        precision = run_flags.read_precision(preset.precision)
        preset = dataclasses.replace(preset, precision=precision)
        document = {**environment(), "settings": preset.settings()}
        earlier = earlier_runs(FLAGS.json, document) if FLAGS.json else {}
        peers = loops(FLAGS.peer, FLAGS.peer_precision, precision)
        runs = document["runs"] = {"keras_dawn": [], **{name: [] for name in peers}, **earlier}
        prices = run_flags.read_prices()
        run_flags.check_numbers()
        write()
        clock = TrainingClock()
        images, _ = choose_dataset("cifar10", FLAGS.data_dir)
        if preset.train_images:
            images = images.subset(preset.train_images, preset.test_images)
        loaded = clock.training_seconds()
        folder = folder_of_all(
            FLAGS.output_dir or run_flags.new_folder("record", images.name, FLAGS.preset), earlier
        )
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from None
    print(f"Preset {FLAGS.preset}: {ways(preset)}.", flush=True)
    for seed in range(FLAGS.seed, FLAGS.seed + FLAGS.runs):
        for loop, (name, own) in peers.items():
            if seed < FLAGS.seed + FLAGS.peer_runs and is_missing(loop, seed):
                note(loop, seed, peer(name, images, seed, own))
        if is_missing("keras_dawn", seed):
            note("keras_dawn", seed, ours(preset, images, seed, folder, loaded, prices))
    counts = f"{len(images.train_images):,} training and {len(images.test_images):,} test images"
    table = Table(title=f"CIFAR-10, {counts}: test accuracy with six views")
    for column in ("", "runs", "mean", "standard deviation", "≥ 94 %", "seconds: median"):
        table.add_column(column)
    for name, results in runs.items():
        if results:
            accuracies = [result["accuracy_tta"] for result in results]
            table.add_row(
                name,
                str(len(results)),
                f"{statistics.mean(accuracies):.2f} %",
                f"{statistics.stdev(accuracies):.2f}" if len(results) > 1 else "",
                str(sum(accuracy >= 94 for accuracy in accuracies)),
                f"{statistics.median(result['seconds'] for result in results):.1f}",
            )
    Console().print(table)
    medians = {n: statistics.median(r["seconds"] for r in rs) for n, rs in runs.items() if rs}
    own = medians.pop("keras_dawn", None)
    if own and medians:
        fastest = min(medians, key=medians.get)
        print(f"time over that of {fastest}: {own / medians[fastest]:.3f}")


if __name__ == "__main__":
    run_flags.define_common(94.0)
    flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
    flags.DEFINE_enum("preset", "cpu", list(cifar10_record.PRESETS), "settings of ours")
    flags.DEFINE_multi_enum("peer", ["airbench94"], list(PEERS), "the plain torch loops")
    flags.DEFINE_multi_enum(
        "peer_precision", [], PRECISIONS[1:], "dtype policies of the loops; by default ours"
    )
    flags.DEFINE_integer("peer_runs", 1, "runs of each plain loop, one before each of ours", 0)
    flags.DEFINE_string("json", None, "results file, written anew after every run, or continued")
    command_line.run(main)
