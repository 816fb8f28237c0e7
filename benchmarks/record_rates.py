"""Each at its best precision, by rates: what whole runs of the record and of its peers would take.

    python benchmarks/record_rates.py --json=FILE
    ONEDNN_MAX_CPU_ISA=AVX2 python benchmarks/record_rates.py --json=FILE  # a rehearsed processor

Each round times some training steps of every contestant in turn: presets of the record recipe at
each of their image sizes, and the plain loops, all in float32 and, where the processor may use it,
in bfloat16; steps that train the stem's bias, whose gradient costs a convolution, apart from those
that do not. The first step of a turn is dropped; a rate is the median of the rounds. A whole run's
time is that of its images at these rates: of a loop all its steps, of ours the epochs at each size,
those on the hardest images with their part of them; without evaluation. Whole runs with their
accuracies are `record.py`'s.

A round of all takes minutes on two cores; `--peer=airbench94 --preset=cpu --rounds=1 --steps=2` is
a short look. The preset `smoke` is of another size than the loops, which its ratio does not tell.
"""

import dataclasses
import json
import math
import os
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

from keras_dawn import data
from keras_dawn.data.image_set import ImageSet
from keras_dawn.dawnbench.records import environment
from keras_dawn.foundation.precision import best_precision
from keras_dawn.native.allocator import keep_freed_memory

import airbench
import keras
import numpy as np
import torch
from absl import app, flags
from plain_loops import LOOPS
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent.parent / "recipes"))
import cifar10_record

from recipe_parts import record_fits
from recipe_parts.record_network import compiled_model, ways

FLAGS = flags.FLAGS
IMAGES = 50_000


class Part(NamedTuple):
    """Steps of one kind: images of so many pixels a side, the stem's bias trained or not."""

    pixels: int
    bias: bool

    def __str__(self):
        return f"{self.pixels} px" + ", the stem's bias trained" * self.bias


@dataclasses.dataclass(frozen=True)
class Contestant:
    """One whose steps are timed.

    Args:
        name, ways: str, and how it computes.
        images: dict from each `Part` to how many images a whole training has of it.
        batch_size: int.
        make_turn: callable from a `Part` to a callable that trains for some steps and returns when
            each ended, in seconds.
    """

    name: str
    ways: str
    images: dict
    batch_size: int
    make_turn: object


def of_loop(name, precision, steps):
    """A plain loop, whose turns have so many steps."""
    loop = LOOPS[name]
    whole, biased = (
        math.ceil(epochs * (IMAGES // loop.batch_size))
        for epochs in (loop.epochs, loop.bias_epochs)
    )

    def make_turn(part):
        net, context = airbench.place(loop.make_net(), torch.device("cpu"), precision)
        net.train()
        net[0].bias.requires_grad = part.bias
        images = torch.randn(loop.batch_size, 3, part.pixels, part.pixels)
        images = images.contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, 10, (loop.batch_size,))
        optimizers = loop.make_optimizers(net, precision, whole)

        def turn():
            ends = []
            for _ in range(steps):
                loss = airbench.smoothed_loss(net, context, images, labels)
                net.zero_grad(set_to_none=True)
                loss.backward()
                for optimizer in optimizers:
                    optimizer.step()
                ends.append(time.perf_counter())
            return ends

        return turn

    title = f"{name}, plain torch, {precision}"
    steps_of = {Part(32, True): biased, Part(32, False): whole - biased}
    images = {part: count * loop.batch_size for part, count in steps_of.items() if count}
    return Contestant(title, "torch's own", images, loop.batch_size, make_turn)


def of_preset(name, precision, steps):
    """A preset of the record recipe, whose turns have so many steps."""
    preset = dataclasses.replace(cifar10_record.PRESETS[name], precision=precision)

    def make_turn(part):
        keras.config.set_dtype_policy(precision)
        images = _random_images(steps * preset.batch_size)
        memory = data.LossMemory(len(images.train_images))
        model = compiled_model(preset, images, memory)
        if preset.bias_epochs:
            model.get_layer("whitening").bias.trainable = part.bias
        one = dataclasses.replace(preset, sizes={0: part.pixels}, hard_from=None, epochs=1)
        (fit,) = record_fits.load(one, images, 0, memory)

        def turn():
            ends = []
            note = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: ends.append(time.perf_counter())
            )
            model.fit(fit.data, callbacks=[note], verbose=0, shuffle=False)
            return ends

        return turn

    return Contestant(
        f"keras_dawn, {name}, {precision}",
        ways(preset),
        images_by_part(preset),
        preset.batch_size,
        make_turn,
    )


def images_by_part(preset):
    """How many images the whole training of a preset has of each `Part`, as a dict."""
    found, pixels = {}, None
    for epoch in range(preset.epochs):
        pixels = preset.sizes.get(epoch, pixels)
        hard = preset.hard_from is not None and epoch >= preset.hard_from
        images = round(IMAGES * (preset.hard_fraction if hard else 1))
        part = Part(pixels, epoch < preset.bias_epochs)
        found[part] = found.get(part, 0) + images // preset.batch_size * preset.batch_size
    return found


def measure(contestants, rounds):
    """Images a second of each contestant at each of its parts, one list of rounds for each."""
    turns = [(one, part, one.make_turn(part)) for one in contestants for part in one.images]
    rates = {one.name: {part: [] for part in one.images} for one in contestants}
    for number in range(rounds + 1):  # the first is for warming up
        for one, part, turn in turns:
            ends = turn()
            rate = one.batch_size * (len(ends) - 1) / (ends[-1] - ends[0])
            print(f"round {number}: {one.name}, {part}: {rate:.0f} images/s", flush=True)
            if number:
                rates[one.name][part].append(rate)
    return rates


def whole_run(images, rates):
    """Seconds that a training takes at the median rates."""
    return sum(count / statistics.median(rates[part]) for part, count in images.items())


def main(arguments):
    if keras.backend.backend() != "torch" or torch.cuda.is_available():
        raise app.UsageError("Rates are of a processor; gpu.py measures GPUs.")
    keep_freed_memory()
    precisions = ["float32"] + ["mixed_bfloat16"] * (best_precision() == "mixed_bfloat16")
    contestants = [of_loop(name, one, FLAGS.steps) for name in FLAGS.peer for one in precisions]
    contestants += [
        of_preset(name, one, FLAGS.steps) for name in FLAGS.preset for one in precisions
    ]
    rates = measure(contestants, FLAGS.rounds)
    seconds = {one.name: whole_run(one.images, rates[one.name]) for one in contestants}
    fastest = min((n for n in seconds if "plain torch" in n), key=seconds.get)
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
    if FLAGS.json:
        document = {
            **environment(),
            "onednn_max_cpu_isa": os.environ.get("ONEDNN_MAX_CPU_ISA"),
            "load": os.getloadavg(),
            "ways": {one.name: one.ways for one in contestants},
            "images": {one.name: _told(one.images) for one in contestants},
            "images_per_second": {name: _told(found) for name, found in rates.items()},
            "seconds_by_rates": seconds,
            "fastest_loop": fastest,
        }  # fmt: skip
        Path(FLAGS.json).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _told(by_part):
    return {str(part): value for part, value in by_part.items()}


def _random_images(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(count) % 10
    return ImageSet(
        "cifar10", "random", pixels, labels, pixels[:10], labels[:10],
        tuple(map(str, range(10))), data.Normalize((0.49, 0.48, 0.45), (0.25, 0.24, 0.26)),
    )  # fmt: skip


if __name__ == "__main__":
    presets = list(cifar10_record.PRESETS)
    flags.DEFINE_multi_enum("preset", ["cpu", "cpu_hardest"], presets, "settings of ours")
    flags.DEFINE_multi_enum("peer", list(LOOPS), list(LOOPS), "the plain torch loops")
    flags.DEFINE_integer("steps", 4, "steps of a turn, the first of which is dropped", 2)
    flags.DEFINE_integer("rounds", 3, "rounds, after one that is dropped", 1)
    flags.DEFINE_string("json", None, "file to write")
    app.run(main)
