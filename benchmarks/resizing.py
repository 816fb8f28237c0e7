"""Progressive against constant image size: accuracy and training time, several seeds.

    python benchmarks/resizing.py --train=FOLDER/train --val=FOLDER/val
    python benchmarks/resizing.py ... --plans=progressive --torchs_own  # what the ways bring

The same network, batch size and highest rate, one triangle of the learning rate; the image
size is the last one throughout, or grows to it. Small images are so much cheaper that the
growing plan can see the photos more often in less time: it may have more epochs. Both are
validated at the last size. The two take turns seed by seed, so that a change in the machine's
load meets both. Time is DAWNBench's: training without validation. `--torchs_own` trains every plan
also with torch's own convolutions in place of the fastest way for each, likewise in turn.
"""

import json
import statistics
from pathlib import Path

from keras_dawn import one_cycle_by_size
from keras_dawn.convolutions import use_table
from keras_dawn.data.photos import ImageFolder
from keras_dawn.dawnbench.records import environment
from keras_dawn.foundation.counted import counted
from keras_dawn.plans import Crops

import command_line
from absl import flags
from growing_photos import sizes_of, train
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_string("train", None, "folder with one folder a class", required=True)
flags.DEFINE_string("val", None, "the same for validation", required=True)
flags.DEFINE_integer("epochs", 8, "epochs at constant size", lower_bound=2)
flags.DEFINE_integer("progressive_epochs", 11, "epochs at growing size", lower_bound=2)
flags.DEFINE_integer("seeds", 3, "seeds", lower_bound=1)
flags.DEFINE_list("sizes", ["0.0:64", "0.5:96", "0.85:128"], "fraction of the training : pixels")
flags.DEFINE_integer("batch_size", 64, "images a step", lower_bound=1)
flags.DEFINE_float("max_lr", 0.1, "highest learning rate")
flags.DEFINE_multi_enum(
    "plans", ["constant", "progressive"], ["constant", "progressive"], "which of the two to train"
)
flags.DEFINE_bool("torchs_own", False, "every plan also with torch's own convolutions")
flags.DEFINE_string("json", None, "file to write the results to, anew after every seed")


def plans():
    """The two plans, by name."""
    sizes = sizes_of(FLAGS.sizes)
    last = sizes[max(sizes)]
    common = {
        "batch_size": FLAGS.batch_size,
        "max_lr": FLAGS.max_lr,
        "weight_decay": 1e-3,
        "crops": Crops((0.35, 1.0)),
        "validation": last,
    }
    return {
        "constant": one_cycle_by_size({0.0: last}, FLAGS.epochs, **common),
        "progressive": one_cycle_by_size(sizes, FLAGS.progressive_epochs, **common),
    }


def main(argv):
    train_source = ImageFolder(FLAGS.train)
    val_source = ImageFolder(FLAGS.val, train_source.class_names)
    contestants = {
        name + (", torch's own convolutions" if table else ""): (plans()[name], table)
        for name in FLAGS.plans
        for table in ([None, "torch"] if FLAGS.torchs_own else [None])
    }
    found = {name: [] for name in contestants}
    about = environment()  # before a contestant is kept to torch's own convolutions
    for seed in range(FLAGS.seeds):
        for name, (plan, table) in contestants.items():
            use_table(table)
            found[name].append(
                train(18, plan, FLAGS.max_lr, seed, train_source, val_source, target=99.0)
            )
            print(name, seed, [f"{s:.0f} s {a:.2f} %" for s, a in found[name][-1]], flush=True)
        if FLAGS.json:
            results = {name: summary(runs, contestants[name][0]) for name, runs in found.items()}
            document = {**about, "ratios": ratios(results), "results": results}
            Path(FLAGS.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    use_table()
    results = {name: summary(runs, contestants[name][0]) for name, runs in found.items()}
    table = Table(title=f"{len(train_source):,} photos, {counted(FLAGS.seeds, 'seed')}")
    for column in (
        "plan",
        "epochs",
        "accuracy, mean",
        "standard deviation",
        "training seconds, median",
    ):
        table.add_column(column)
    for name, result in results.items():
        accuracies, mean = result["accuracies"], result["mean_accuracy"]
        spread = statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0
        seconds = statistics.median(result["seconds"])
        epochs = str(contestants[name][0].epochs)
        table.add_row(name, epochs, f"{mean:.2f} %", f"{spread:.2f}", f"{seconds:.0f}")
    Console(width=100).print(table)
    for names, ratio in ratios(results).items():
        name, _, base = names.partition(" / ")
        print(f"{name}: {ratio:.2f} of the training time of {base}.")


def summary(runs, plan):
    """What the JSON has of the runs of one contestant."""
    accuracies = [run[-1][1] for run in runs]
    return {
        "accuracies": accuracies,
        "mean_accuracy": statistics.mean(accuracies),
        "seconds": [run[-1][0] for run in runs],
        "runs": runs,
        "plan": str(plan),
    }


def ratios(results):
    """The median ratio of the seeds' times of each pair, by names."""
    return {
        f"{name} / {base}": statistics.median(
            a / b for a, b in zip(results[name]["seconds"], results[base]["seconds"], strict=True)
        )
        for name, base in _pairs(results)
    }


def _pairs(names):
    """Which contestants' times are divided: growing by constant, and fastest ways by torch's."""
    for name in names:
        plan, *torchs_own = name.split(", ")
        constant = ", ".join(["constant", *torchs_own])
        if plan == "progressive" and constant in names:
            yield name, constant
        if not torchs_own and f"{name}, torch's own convolutions" in names:
            yield name, f"{name}, torch's own convolutions"


if __name__ == "__main__":
    command_line.run(main)
