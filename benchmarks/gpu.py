"""Everything the project claims about GPUs, in one call of under ten minutes.

    python benchmarks/gpu.py --data_dir=FOLDER_WITH_CIFAR10

First the checks of `gpu_checks.py`; then, with data, 30 seeds of the record recipe, five of them
with the plain loop of airbench94's Muon variant before; then training steps of WRN-22-6 (32 px) and
ResNet-50 (128, 224, 288 px) in bfloat16 and float16: ours under `fit` with and without CUDA graphs,
against hand-written loops (channels_last, fused SGD, autocast) with and without a CUDA graph of
their own, interleaved, medians of the rounds; then, with data and time left, the CIFAR-10 recipe
with the settings of fast.ai's one-GPU entry. A short table comes last; `gpu.json` goes to `$OUT`,
or to the working folder. `--parts` runs some of these only, for a second call.

`--tiny` runs all of it small, also on a processor, to see that the script itself is right.
"""

import json
import os
import statistics
import sys
import time
import traceback
from pathlib import Path

import keras_dawn
from keras_dawn.native import cuda_graph
from keras_dawn.records import environment

import gpu_checks
import gpu_recipes
import keras
import networks
import torch
import torch.nn.functional as F
import torchvision
from absl import app, flags
from memory import peak_bytes
from rich.console import Console
from rich.table import Table
from step import Repeated

FLAGS = flags.FLAGS
flags.DEFINE_bool("tiny", False, "small sizes, to test the script")
flags.DEFINE_string("data_dir", None, "folder with CIFAR-10's official Python batches")
PARTS = ["checks", "record", "steps", "recipe"]
flags.DEFINE_multi_enum("parts", PARTS, PARTS, "what to run; give it several times for several")
flags.DEFINE_integer("budget_seconds", 560, "no case is begun after so many seconds")

START = time.perf_counter()


def device():
    return "cuda" if torch.cuda.is_available() else "cpu"


class Ours:
    """An accelerated Keras model under `fit`."""

    def __init__(self, build, policy, graphs):
        keras.config.set_dtype_policy(policy)
        self.model = build()
        keras.config.set_dtype_policy("float32")
        optimizer = keras_dawn.SGD(0.01, momentum=0.9, weight_decay=1e-4)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=512.0)
        self.model.compile(optimizer, gpu_checks.LOSS, metrics=["accuracy"])
        keras_dawn.accelerate(self.model)
        self.graphs = graphs

    def train(self, batch, steps):
        before = cuda_graph.WARM_UP_STEPS
        if not self.graphs:
            cuda_graph.WARM_UP_STEPS = 10**9
        try:
            self.model.fit(
                Repeated(batch, steps), shuffle=False, verbose=0,
                callbacks=[keras_dawn.OneCycle(0.01)],
            )  # fmt: skip
        finally:
            cuda_graph.WARM_UP_STEPS = before


class Hand:
    """A hand-written loop: channels_last, autocast, fused SGD, loss and accuracy on the device."""

    def __init__(self, network, policy, batch, graph):
        self.network = network.to(device(), memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(
            network.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True
        )
        self.dtype = getattr(torch, policy.removeprefix("mixed_"))
        self.scaler = torch.amp.GradScaler(device(), enabled=self.dtype == torch.float16)
        self.loss, self.hits = (torch.zeros((), device=device()) for _ in range(2))
        self.forward = self.network
        if graph and device() == "cuda":
            sample = self._images(batch[0])
            with torch.autocast("cuda", self.dtype, cache_enabled=False):
                self.forward = torch.cuda.make_graphed_callables(self.network, (sample,))
        self.graph = graph

    def _images(self, x):
        return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def train(self, batch, steps):
        x, y = batch
        for step in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.01 * (1 - step / steps)
            with torch.autocast(device(), self.dtype, cache_enabled=not self.graph):
                outputs = self.forward(self._images(x))
            loss = F.cross_entropy(outputs.float(), y)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            with torch.no_grad():
                self.loss += loss.detach() * len(y)
                self.hits += (outputs.argmax(1) == y).sum()


def cases():
    """`(title, Keras network, torch network, batch, pixels)`."""
    if FLAGS.tiny:
        shape = networks.wrn(10, 1)
        yield (
            "WRN-10-1, 32 px",
            lambda: networks.in_keras(shape),
            lambda: networks.in_torch(shape),
            8,
            32,
        )
        return
    shape = networks.wrn(22, 6)
    yield (
        "WRN-22-6, 32 px",
        lambda: networks.in_keras(shape),
        lambda: networks.in_torch(shape),
        512,
        32,
    )
    for size, batch in ((224, 192), (128, 192), (288, 128)):
        yield (
            f"ResNet-50, {size} px",
            lambda: keras_dawn.models.ResNet50(),
            lambda: torchvision.models.resnet50(),
            batch,
            size,
        )


def measure(ours, theirs, policy, count, size):
    """Images a second, ratio to the hand-written loop and peak memory of each contestant."""
    batch = (
        torch.randn(count, size, size, 3, device=device()),
        torch.randint(0, 10, (count,), device=device()),
    )
    contestants = {
        "hand": Hand(theirs(), policy, batch, graph=False),
        "keras_dawn": Ours(ours, policy, graphs=True),
        "keras_dawn, no graph": Ours(ours, policy, graphs=False),
        "hand, CUDA graph": Hand(theirs(), policy, batch, graph=True),
    }
    steps, rounds = (2, 2) if FLAGS.tiny else (10, 7)
    for one in contestants.values():
        one.train(batch, 6)
    seconds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, one in contestants.items():
            clock = keras_dawn.TrainingClock()
            one.train(batch, steps)
            clock.pause()  # waits for the GPU
            seconds[name].append(clock.training_seconds() / steps)
    return {
        name: {
            "images_per_second": count / statistics.median(values),
            "time_over_hand": statistics.median(
                a / b for a, b in zip(values, seconds["hand"], strict=True)
            ),
            "peak_mib": peak_bytes(lambda name=name: contestants[name].train(batch, 2)) / 2**20,
        }
        for name, values in seconds.items()
    }


def projected(results):
    """Hours of fast.ai's 8-GPU plan on eight such GPUs, from the float16 rates; a projection."""
    rates = {}
    for size in (128, 224, 288):
        case = results.get(f"ResNet-50, {size} px, mixed_float16")
        if case is None:
            return None
        rates[size] = case["keras_dawn"]["images_per_second"]
    costs = keras_dawn.PLANS["fastai_8gpu"].costs(1_281_167, 163_000, rates)
    return sum(cost.seconds for cost in costs) / 8 / 3600


def main(argv):
    document = {**environment(), "checks": {}, "results": {}}
    for check in gpu_checks.CHECKS if "checks" in FLAGS.parts else ():
        try:
            document["checks"][check.__name__] = {"passed": True, "found": check(device())}
        except Exception as error:  # each check is to be reported, whatever it raises
            traceback.print_exc()
            document["checks"][check.__name__] = {"passed": False, "found": repr(error)}
    out = Path(os.environ.get("OUT", "."))
    if FLAGS.data_dir and "record" in FLAGS.parts:
        document["cifar10_record"] = gpu_recipes.record(FLAGS.data_dir, out, FLAGS.tiny)
    for title, ours, theirs, count, size in cases() if "steps" in FLAGS.parts else ():
        for policy in ("mixed_float16", "mixed_bfloat16"):
            if time.perf_counter() - START > FLAGS.budget_seconds * 0.7:
                continue
            result = measure(ours, theirs, policy, count, size)
            document["results"][f"{title}, {policy}"] = result
            print(title, policy, {k: round(v["time_over_hand"], 3) for k, v in result.items()})
            torch.cuda.empty_cache()
    left = time.perf_counter() - START < FLAGS.budget_seconds - 150
    if FLAGS.data_dir and "recipe" in FLAGS.parts and left:
        document["cifar10_wrn"] = gpu_recipes.wrn(FLAGS.data_dir, out, FLAGS.tiny)
    document["projected_hours_of_fastai_8gpu_on_8"] = projected(document["results"])
    (out / "gpu.json").write_text(json.dumps(document, indent=2) + "\n")
    print_tables(document)
    sys.exit(not all(check["passed"] for check in document["checks"].values()))


def print_tables(document):
    """Checks, then timings, short."""
    console = Console(width=120)
    for name, check in document["checks"].items():
        console.print(f"{'passed' if check['passed'] else 'FAILED'}  {name}: {check['found']}")
    gpus = ", ".join(document["hardware"]["gpus"]) or "no GPU"
    table = Table(title=f"{gpus}: images/s (time over hand, MiB)")
    names = ("hand", "hand, CUDA graph", "keras_dawn, no graph", "keras_dawn")
    for column in ("case", *names):
        table.add_column(column)
    for title, result in document["results"].items():
        table.add_row(
            title,
            *(
                f"{r['images_per_second']:,.0f} ({r['time_over_hand']:.2f}, {r['peak_mib']:,.0f})"
                for r in (result[name] for name in names)
            ),
        )
    console.print(table)
    for name in ("cifar10_wrn", "cifar10_record", "projected_hours_of_fastai_8gpu_on_8"):
        console.print(name, document.get(name))


if __name__ == "__main__":
    app.run(main)
