"""Time of a training step and of an evaluation step: ours against its peers.

    python benchmarks/step.py                        # everything, about 20 minutes on 2 cores
    python benchmarks/step.py --only=resnet18 --rounds=5
    python benchmarks/step.py --only=photo --rounds=9 --compiled --json=photo.json

All contestants live in one process and take turns. In each round every one runs the same
number of steps on the same batch; its time is divided by that of the best hand-written
loop (channels_last memory format, fused SGD) in the same round; the table shows the median
over the rounds. Ours and plain Keras run a whole `fit`, callbacks and logs included, with a
one-cycle schedule; the hand-written loops keep loss and accuracy on the device. The peak
memory is that of the tensors of two steps, beyond weights and optimizer state. The cases named
"photo" are torchvision's ResNets at the sizes that training on photos goes through, without plain
Keras; `--compiled` adds ours and the hand-written loop under `torch.compile`, with the seconds to
their first step. The JSON is written after every case.
"""

import contextlib
import json
import statistics
import time
from pathlib import Path

import keras_dawn  # noqa: F401  (chooses the backend)
from keras_dawn.dawnbench.records import environment

import command_line
import keras
import networks
import step_flags
import torch
from absl import flags
from memory import peak_bytes
from rich.console import Console
from rich.table import Table
from step_contestants import Fastai, Hand, Keras

FLAGS = flags.FLAGS
flags.DEFINE_bool("fastai", True, "include fastai where it is installed")
flags.DEFINE_bool("compiled", False, "include ours and the hand loop under torch.compile")
BASE = "hand, channels_last, fused"


def cases():
    """`(name, build in Keras, shape or None, batch, image size, policy, threads, steps)`."""
    cores = torch.get_num_threads()
    nets = {
        "resnet18": (networks.resnet18, 1, 16),
        "resnet34": (networks.resnet34, 1, 16),
        "wrn16": (lambda width: networks.wrn(16, width), 1, 4),
    }
    for name, (make, narrow, wide) in nets.items():
        small, large = make(narrow), make(wide)
        yield f"{name}, host-bound", small, 2, 32, "float32", 1, 100
        yield f"{name}, kernel-bound", large, 128, 32, "float32", cores, 3
        yield f"{name}, kernel-bound, bf16", large, 128, 32, "mixed_bfloat16", cores, 3
    for depth in (18, 50):
        for size in (64, 96, 128, 224):
            for policy, short in (("mixed_bfloat16", "bf16"), ("float32", "fp32")):
                net = networks.Photo(depth)
                yield f"resnet{depth}, photo {size} px, {short}", net, 64, size, policy, cores, 2
    for name in ("ResNet50", "MobileNetV2", "EfficientNetB0"):
        yield f"{name}, 64 px", name, 32, 64, "float32", cores, 3


def contestants(net, policy, size):
    """The contestants of a case, by name."""

    def build():
        if isinstance(net, str):
            return getattr(keras.applications, net)(
                weights=None, input_shape=(size, size, 3), classifier_activation=None, classes=10
            )
        return networks.in_keras(net)

    found = {"keras_dawn": Keras(build, policy, True)}
    if not isinstance(net, networks.Photo):
        found["plain Keras"] = Keras(build, policy, False)
    if FLAGS.compiled:
        found["keras_dawn, compiled"] = Keras(build, policy, True, compile=True)
    if not isinstance(net, str):
        found[BASE] = Hand(networks.in_torch(net), policy, True, True)
        found["hand, NCHW"] = Hand(networks.in_torch(net), policy, False, False)
        if FLAGS.compiled:
            found["hand, compiled"] = Hand(networks.in_torch(net), policy, True, True, True)
        if FLAGS.fastai and policy == "float32":
            with contextlib.suppress(ImportError):
                found["fastai"] = Fastai(networks.in_torch(net))
    return found


def compare(found, batch, steps, phase):
    """Median over the rounds of each contestant's time over the base's."""
    found = {name: one for name, one in found.items() if hasattr(one, phase)}
    base = BASE if BASE in found else "plain Keras"
    first_seconds = {}
    for name, one in found.items():
        start = time.perf_counter()
        getattr(one, phase)(batch, 1)
        first_seconds[name] = round(time.perf_counter() - start, 3)
        getattr(one, phase)(batch, 1)
    ratios = {name: [] for name in found}
    seconds = []
    for _ in range(FLAGS.rounds):
        times = {}
        for name, one in found.items():
            start = time.perf_counter()
            getattr(one, phase)(batch, steps)
            times[name] = time.perf_counter() - start
        seconds.append(times["keras_dawn"] / steps)
        for name in found:
            ratios[name].append(times[name] / times[base])
    return {
        "base": base,
        "peak_mib": {
            name: round(peak_bytes(lambda one=one: getattr(one, phase)(batch, 2)) / 2**20, 1)
            for name, one in found.items()
        },
        "ratios": {name: statistics.median(values) for name, values in ratios.items()},
        "spread": {name: [min(values), max(values)] for name, values in ratios.items()},
        "seconds_to_first_step": first_seconds,
        "keras_dawn_seconds_per_step": statistics.median(seconds),
    }


def main(argv):
    chosen = step_flags.chosen(cases(), lambda case: case[0])
    results = {}
    columns = ["keras_dawn", "plain Keras", "hand, NCHW", "fastai"]
    columns += ["keras_dawn, compiled", "hand, compiled"] if FLAGS.compiled else []
    table = Table(title="time of a step over the base's, median of the rounds")
    for column in ("case", "base = 1.00", *columns, "peak MiB, ours / base"):
        table.add_column(column)
    threads = torch.get_num_threads()
    for name, net, batch_size, size, policy, case_threads, steps in chosen:
        torch.set_num_threads(case_threads)
        batch = torch.randn(batch_size, size, size, 3), torch.randint(0, 10, (batch_size,))
        found = contestants(net, policy, size)
        for phase in ("train", "evaluate"):
            result = compare(found, batch, steps, phase)
            results[f"{name}, {phase}"] = result
            ratios = result["ratios"]
            row = [f"{ratios[c]:.2f}" if c in ratios else "" for c in columns]
            memory = result["peak_mib"]
            peak = f"{memory['keras_dawn']:.0f} / {memory[result['base']]:.0f}"
            table.add_row(f"{name}, {phase}", result["base"], *row, peak)
            print(f"{name}, {phase}", {k: round(v, 3) for k, v in ratios.items()}, flush=True)
        torch.set_num_threads(threads)
        if FLAGS.json:
            document = {**environment(), "rounds": FLAGS.rounds, "results": results}
            Path(FLAGS.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    Console(width=160).print(table)


if __name__ == "__main__":
    command_line.run(main)
