"""One network under several schedules of the learning rate, at equal epochs and several seeds.

The experiment that the notebooks of 2018 invited. Each schedule has the highest rate that was
best for it among those tried (`--tune`, on a seed that the comparison does not use), so that no
schedule is judged at another one's rate.

Measured: WRN-10-1, 12,500 images of CIFAR-10, 7 epochs, two CPU cores, n = 3 seeds: one cycle
65.93 % ± 0.59, steps 60.09 % ± 1.36, a constant rate 54.56 % ± 1.23
(benchmarks/results/compare-cpu-2026-11-24.json).

    python recipes/compare.py --dataset=cifar10 --data_dir=FOLDER      # 3 seeds of each
    python recipes/compare.py --dataset=cifar10 --data_dir=FOLDER --tune=0.05,0.1,0.2,0.4
"""

import dataclasses
import math
import re
import statistics

import keras_dawn
from keras_dawn import OneCycle, ParameterSchedule, data, plots, schedules
from keras_dawn.data.choose import DATASETS, choose_dataset
from keras_dawn.dawnbench import records
from keras_dawn.foundation.counted import counted

import keras
from absl import app, flags
from rich.console import Console
from rich.table import Table

from recipe_parts import run_flags
from recipe_parts.cifar10_presets import CIFAR_AUGMENTATION, DIGITS_AUGMENTATION
from recipe_parts.command_line import run

FLAGS = flags.FLAGS
TUNING_SEED = 1000


@dataclasses.dataclass(frozen=True)
class Contestant:
    """A schedule with its highest learning rate.

    Args:
        rate: float.
        callback: callable from the rate to a `ParameterSchedule`.
    """

    rate: float
    callback: object


def curve(make):
    """A contestant's callback that sets the learning rate alone."""
    return lambda rate: ParameterSchedule({"learning_rate": make(rate)})


CONTESTANTS = {
    "constant": Contestant(0.05, curve(schedules.constant)),
    "step": Contestant(
        0.5, curve(lambda rate: schedules.steps([rate, rate / 10, rate / 100], [0.5, 0.75]))
    ),
    "cosine": Contestant(0.5, curve(lambda rate: schedules.cosine(rate, 0.0))),
    "SGDR": Contestant(0.15, curve(schedules.cosine_restarts)),
    "flat cosine": Contestant(0.15, curve(lambda rate: schedules.flat_cosine(rate, 0.0))),
    "one-cycle": Contestant(0.5, OneCycle),
    "one-cycle fixed momentum": Contestant(0.5, lambda rate: OneCycle(rate, momentum=None)),
}


def define_flags():
    """The flags of this comparison."""
    run_flags.print_anything()
    flags.DEFINE_string("dataset", "auto", f"one of: {', '.join(DATASETS)}")
    flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
    flags.DEFINE_list("schedules", list(CONTESTANTS), "which of them to compare")
    flags.DEFINE_list("tune", [], "highest rates to try for each schedule, on one seed, instead")
    flags.DEFINE_string("model", "wrn-10-1", "wrn-DEPTH-WIDTH")
    flags.DEFINE_integer("epochs", 7, "the same for all", lower_bound=1)
    flags.DEFINE_integer("batch_size", 128, "the same for all", lower_bound=1)
    flags.DEFINE_integer("train_images", 12500, "how many to train on", lower_bound=1)
    flags.DEFINE_integer("test_images", 10000, "how many to validate on", lower_bound=1)
    flags.DEFINE_integer("seeds", 3, "runs of each schedule", lower_bound=1)
    flags.DEFINE_float("momentum", 0.9, "of SGD; one-cycle cycles it between 0.95 and 0.85")
    flags.DEFINE_float("weight_decay", 5e-4, "coupled")
    flags.DEFINE_string("output_dir", None, "run folder; by default a new one in runs/")
    flags.DEFINE_string("precision", "auto", "dtype policy")


def main(argv):
    """Compares the schedules, or tries several highest rates for each."""
    console = Console(markup=False, emoji=False)
    try:
        run_flags.refuse_several_processes("compare")
        rates = [float(rate) for rate in FLAGS.tune]
        if not all(map(math.isfinite, rates)):
            raise ValueError(f"--tune must have finite rates; got {', '.join(FLAGS.tune)}.")
        if not re.fullmatch(r"wrn-[1-9]\d*-[1-9]\d*", FLAGS.model):
            raise ValueError(f"--model must be wrn-DEPTH-WIDTH; got {FLAGS.model!r}.")
        if unknown := set(FLAGS.schedules) - set(CONTESTANTS):
            raise ValueError(
                f"--schedules knows {', '.join(CONTESTANTS)}; got {', '.join(sorted(unknown))}."
            )
        keras.config.set_dtype_policy(run_flags.read_precision("mixed_float16"))
        images, reason = choose_dataset(FLAGS.dataset, FLAGS.data_dir)
        folder = records.RunFolder(
            FLAGS.output_dir or run_flags.new_folder("compare", images.name, FLAGS.model)
        )
    except (ValueError, OSError) as error:
        raise app.UsageError(str(error)) from None
    count = min(FLAGS.train_images, len(images.train_images))
    images = images.subset(count, min(FLAGS.test_images, len(images.test_images)))
    console.print(f"{reason} {count:,} training images, run folder: {folder.path}")
    chosen = {name: CONTESTANTS[name] for name in FLAGS.schedules}
    with folder.removed_if_empty():
        if rates:
            tune(chosen, rates, images, folder, console)
        else:
            compare(chosen, images, folder, console)


def compare(chosen, images, folder, console):
    """Every schedule with every seed; one table, one picture, one file."""
    clock = keras_dawn.TrainingClock()
    curves = {name: [] for name in chosen}
    for seed in range(FLAGS.seeds):  # seeds outermost: what slows the machine slows all alike
        for name, contestant in chosen.items():
            curves[name].append(train(contestant, contestant.rate, images, seed))
            console.print(f"seed {seed}, {name}: {curves[name][-1][-1]:.2f} %")
    finals = {name: [seed[-1] for seed in seeds] for name, seeds in curves.items()}
    epochs, seeds = counted(FLAGS.epochs, "epoch"), counted(FLAGS.seeds, "seed")
    table = Table(title=f"{FLAGS.model}, {epochs}, {seeds}")
    for column in ("schedule", "highest rate", "accuracy, mean", "standard deviation", "each seed"):
        table.add_column(column)
    spread = {n: statistics.stdev(v) if len(v) > 1 else 0.0 for n, v in finals.items()}
    for name in sorted(finals, key=lambda name: -statistics.mean(finals[name])):
        row = [f"{statistics.mean(finals[name]):.2f} %", f"{spread[name]:.2f}"]
        seeds = ", ".join(f"{value:.2f}" for value in finals[name])
        table.add_row(name, f"{chosen[name].rate:g}", *row, seeds)
    console.print(table)
    folder.write_json(
        "compare.json",
        {
            **describe(images),
            "wall_seconds": clock.wall_seconds(),
            "accuracy_by_epoch": curves,
            "final": {
                name: {"mean": statistics.mean(values), "standard_deviation": spread[name]}
                for name, values in finals.items()
            },
        },
    )
    try:
        plots.plot_comparison(
            {name: learning_rates(contestant, images) for name, contestant in chosen.items()},
            curves,
            finals,
            folder.path / "compare.png",
        )
    except ImportError as error:
        console.print(f"No picture: {error}")


def tune(chosen, rates, images, folder, console):
    """The accuracy of each schedule at each highest rate, on one seed."""
    found = {
        name: {rate: train(contestant, rate, images, TUNING_SEED)[-1] for rate in rates}
        for name, contestant in chosen.items()
    }
    table = Table(title=f"{FLAGS.model}, {counted(FLAGS.epochs, 'epoch')}, seed {TUNING_SEED}")
    for column in ("schedule", *(f"{rate:g}" for rate in rates), "best"):
        table.add_column(column)
    for name, row in found.items():
        best = max(row, key=row.get)
        table.add_row(name, *(f"{row[rate]:.2f} %" for rate in rates), f"{best:g}")
    console.print(table)
    folder.write_json("tune.json", {**describe(images), "accuracy_by_rate": found})


def train(contestant, rate, images, seed):
    """Validation accuracy in percent after each epoch of one training."""
    keras.utils.set_random_seed(seed)
    train_data, test_data = load(images, seed)
    _, depth, width = FLAGS.model.split("-")
    model = keras_dawn.models.WideResNet(int(depth), int(width), classes=len(images.class_names))
    optimizer = keras_dawn.SGD(rate, momentum=FLAGS.momentum, weight_decay=FLAGS.weight_decay)
    if keras.config.dtype_policy().name == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    model.compile(
        optimizer,
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    keras_dawn.accelerate(model)
    history = model.fit(
        train_data,
        validation_data=test_data,
        epochs=FLAGS.epochs,
        callbacks=[contestant.callback(rate)],
        verbose=0,
        shuffle=False,  # the data shuffles itself
    )
    return [100 * accuracy for accuracy in history.history["val_accuracy"]]


def load(images, seed):
    """The images on the device, for training and for validation."""
    augmentation = DIGITS_AUGMENTATION if images.name == "digits" else CIFAR_AUGMENTATION
    train_data = data.DeviceImages(
        images.train_images,
        images.train_labels,
        FLAGS.batch_size,
        transforms=[*augmentation, images.normalize],
        sampler=data.Shuffled(seed),
    )
    return train_data, data.DeviceImages(
        images.test_images, images.test_labels, 500, transforms=[images.normalize]
    )


def learning_rates(contestant, images):
    """The learning rate in every step of a training."""
    steps = -(-len(images.train_images) // FLAGS.batch_size)
    return contestant.callback(contestant.rate).values(FLAGS.epochs, steps)["learning_rate"]


def describe(images):
    """What was compared, on what, for the files."""
    names = ("model", "epochs", "batch_size", "seeds", "momentum", "weight_decay")
    return {
        **records.environment(),
        "settings": {name: FLAGS[name].value for name in names},
        "precision": keras.config.dtype_policy().name,
        "highest_rates": {name: CONTESTANTS[name].rate for name in FLAGS.schedules},
        "data": {
            "name": images.name,
            "sha256": images.fingerprint(),
            "train_images": len(images.train_images),
            "test_images": len(images.test_images),
        },
    }


if __name__ == "__main__":
    define_flags()
    run(main)
