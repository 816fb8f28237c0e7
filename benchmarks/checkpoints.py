"""What saving costs a training: the time of a checkpoint, as a fraction of a minute.

    python benchmarks/checkpoints.py --json=FILE

Each network trains a few steps under `fit`, in turn without checkpoints and with one after every
other step; the difference of two neighbouring rounds, for one checkpoint, is what a save costs: by
the clock, which sees the disk, and of the processor's time, which other work does not disturb.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import keras_dawn
from keras_dawn import SGD, ResumeTraining, data
from keras_dawn.dawnbench.records import environment

import command_line
import keras
import numpy as np
from absl import flags
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 7, "rounds of both kinds", lower_bound=1)
flags.DEFINE_integer("saves", 6, "checkpoints a round", lower_bound=1)
flags.DEFINE_float("every_seconds", 60.0, "what the fraction is of")
flags.DEFINE_list("networks", [], "names of those to measure; all by default")
flags.DEFINE_string("json", None, "file to write the results to, anew after every network")

NETWORKS = {
    "WRN-16-2": lambda: keras_dawn.models.WideResNet(16, 2),
    "ResNet-9": lambda: keras_dawn.models.ResNet9(),
    "WRN-22-6": lambda: keras_dawn.models.WideResNet(22, 6),
    "ResNet-50": lambda: keras_dawn.models.ResNet50(classes=1000, input_shape=(32, 32, 3)),
}
flags.register_validator("networks", set(NETWORKS).issuperset, f"there are {list(NETWORKS)}")


def fit(model, images, callbacks):
    """Seconds of one epoch, by the clock and of the processor's time."""
    clocks = time.perf_counter, time.process_time
    begin = [clock() for clock in clocks]
    model.fit(images, epochs=1, callbacks=callbacks, verbose=0, shuffle=False)
    return np.array([clock() - first for clock, first in zip(clocks, begin, strict=True)])


def save_seconds(build):
    """`(seconds of a save in each round by either clock, MiB of a checkpoint)` for one network."""
    keras.utils.set_random_seed(0)
    model = build()
    model.compile(
        SGD(0.01, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    keras_dawn.accelerate(model)
    count = 2 * FLAGS.saves
    pixels = np.zeros((2 * count, 32, 32, 3), np.uint8)
    images = data.DeviceImages(pixels, np.zeros(2 * count, np.int64), 2)
    fit(model, images, [])
    costs = []
    for _ in range(FLAGS.rounds):
        without = fit(model, images, [])
        with tempfile.TemporaryDirectory() as folder:
            resume = ResumeTraining(folder, every_steps=2)
            costs.append((fit(model, images, [resume]) - without) / FLAGS.saves)
            (size,) = {round(path.stat().st_size / 2**20) for path in Path(folder).glob("*.pt")}
    return np.array(costs).T.tolist(), size


def main(arguments):
    results = {}
    table = Table(title="What a checkpoint costs a training")
    fraction = f"of {FLAGS.every_seconds:g} s"
    for column in ("network", "MiB", "clock", "ms: median", "least", "most", fraction):
        table.add_column(column)
    for name, build in NETWORKS.items():
        if FLAGS.networks and name not in FLAGS.networks:
            continue
        (seconds, processor), size = save_seconds(build)
        results[name] = {
            "seconds": seconds, "processor_seconds": processor, "mebibytes": size
        }  # fmt: skip
        for clock, costs in (("wall", seconds), ("processor", processor)):
            median = statistics.median(costs)
            table.add_row(
                name,
                str(size),
                clock,
                *(f"{1000 * value:.0f}" for value in (median, min(costs), max(costs))),
                f"{100 * median / FLAGS.every_seconds:.2f} %",
            )
        if FLAGS.json:
            text = json.dumps({**environment(), "results": results}) + "\n"
            Path(FLAGS.json).write_text(text, encoding="utf-8")
    Console().print(table)


if __name__ == "__main__":
    command_line.run(main)
