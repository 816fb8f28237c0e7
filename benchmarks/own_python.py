"""Training steps of models that keep their Python, against plain Keras and hand-written loops.

    python benchmarks/own_python.py --json=FILE

A subclassed ResNet (blocks of its own), a VAE and a GAN with a `train_step` of their own. Each is
trained plain, accelerated (its layers compute natively, its Python runs as it is) and as the same
network in a loop of PyTorch (channels_last for images, fused optimizers). All live in one process
and take turns; a round's times are divided by the hand loop's of the same round; the table shows
medians and the smallest and largest ratio. *Host-bound* cases are so small that Python is what
takes time, on one thread; in *kernel-bound* ones arithmetic is.
"""

import json
import statistics
import time
from pathlib import Path

import keras_dawn
from keras_dawn.dawnbench.records import environment

import command_line
import keras
import own_python_models as own
import step_flags
import torch
from absl import flags
from own_python_resnet import ResNetLoop, resnet_in_keras
from rich.console import Console
from rich.table import Table
from step_contestants import Repeated

FLAGS = flags.FLAGS


class InKeras:
    """A Keras model under `fit`, accelerated or plain."""

    def __init__(self, make, accelerated):
        keras.utils.set_random_seed(0)
        self.model = make()
        if accelerated:
            keras_dawn.accelerate(self.model)

    def train(self, batch, steps):
        self.model.fit(Repeated(batch, steps), shuffle=False, verbose=0)


def cases():
    """`(name, Keras model, hand loop, batch, threads, steps)`."""
    cores = torch.get_num_threads()

    def images(count):
        return torch.randn(count, 32, 32, 3), torch.randint(0, 10, (count,))

    yield (
        "subclassed ResNet, host-bound", lambda: resnet_in_keras(1),
        lambda: ResNetLoop(1), images(2), 1, 40,
    )  # fmt: skip
    yield (
        "subclassed ResNet, kernel-bound", lambda: resnet_in_keras(16),
        lambda: ResNetLoop(16), images(64), cores, 4,
    )  # fmt: skip
    for name, width, count, threads, steps in (
        ("host-bound", 32, 8, 1, 100),
        ("kernel-bound", 2048, 512, cores, 4),
    ):
        batch = (torch.rand(count, 64),)
        yield (
            f"VAE, {name}", lambda width=width: own.vae_in_keras(width),
            lambda width=width: own.VAELoop(width), batch, threads, steps,
        )  # fmt: skip
        yield (
            f"GAN, {name}", lambda width=width: own.gan_in_keras(width),
            lambda width=width: own.GANLoop(width), batch, threads, steps,
        )  # fmt: skip


def compare(found, batch, steps):
    """Ratios to the hand loop in each round, by contestant."""
    for one in found.values():
        one.train(batch, 5)
    ratios = {name: [] for name in found}
    for _ in range(FLAGS.rounds):
        times = {}
        for name, one in found.items():
            start = time.perf_counter()
            one.train(batch, steps)
            times[name] = time.perf_counter() - start
        for name in found:
            ratios[name].append(times[name] / times["hand"])
    return {
        name: {"median": statistics.median(v), "spread": [min(v), max(v)]}
        for name, v in ratios.items()
    }


def main(argv):
    chosen = step_flags.chosen(cases(), lambda case: case[0])
    results = {}
    table = Table(title="time of a step over the hand-written loop's (smallest to largest)")
    for column in ("case", "keras_dawn", "plain Keras"):
        table.add_column(column)
    threads = torch.get_num_threads()
    for name, make, loop, batch, case_threads, steps in chosen:
        torch.set_num_threads(case_threads)
        found = {
            "hand": loop(), "keras_dawn": InKeras(make, True), "plain Keras": InKeras(make, False)
        }  # fmt: skip
        result = results[name] = compare(found, batch, steps)
        cells = [
            f"{r['median']:.2f} ({r['spread'][0]:.2f} to {r['spread'][1]:.2f})"
            for r in (result["keras_dawn"], result["plain Keras"])
        ]
        table.add_row(name, *cells)
        print(name, *cells, flush=True)
        torch.set_num_threads(threads)
        if FLAGS.json:
            document = {**environment(), "rounds": FLAGS.rounds, "results": results}
            Path(FLAGS.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    Console(width=120).print(table)


if __name__ == "__main__":
    command_line.run(main)
