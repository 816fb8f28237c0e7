"""Several processes against one: step time, overlap with the backward pass, bytes sent.

    python benchmarks/scaling.py                     # 1 and 2 processes on this machine
    python benchmarks/scaling.py --processes=1,2,4,8 --model=wrn22 --batch_size=512

Starts torchrun once for each number of processes (NCCL where there is a GPU for each, gloo
otherwise, one thread a process) and lets every process train the same Keras network under
`fit`, with the whole batch fixed (strong scaling) and with a fixed part a process (weak). In
each round three things take turns: the step, the step without communication (`no_sync`), and
the all-reduce of as many bytes alone; the medians of the rounds give

    overlap = 1 - (step - step without communication) / all-reduce alone

which is outside 0 to 1 where the all-reduce is shorter than the noise of a step.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras_dawn
from keras_dawn.dawnbench.records import environment
from keras_dawn.native.accelerate import engine_of

import command_line
import keras
import networks
import torch
import torch.distributed as dist
from absl import flags
from rich.console import Console
from rich.table import Table
from step_contestants import Repeated

FLAGS = flags.FLAGS
flags.DEFINE_list("processes", ["1", "2"], "numbers of processes")
flags.DEFINE_enum("model", "resnet18", ["resnet18", "wrn16", "wrn22"], "network, at 32 px")
flags.DEFINE_integer("width", 8, "width of the network", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "images of all processes (strong), of one (weak)")
flags.DEFINE_integer("rounds", 7, "rounds of the three", lower_bound=1)
flags.DEFINE_string("json", None, "file to write the times to")
flags.DEFINE_string("worker", None, "used by the script itself: file for a process's results")

STEPS = 4


def network():
    """The benchmark's network, as `networks` describes it."""
    if FLAGS.model == "resnet18":
        return networks.resnet18(FLAGS.width)
    return networks.wrn(int(FLAGS.model[3:]), FLAGS.width)


class Contestant:
    """An accelerated model that repeats this process's part of a batch."""

    def __init__(self, images):
        self.model = networks.in_keras(network())
        self.model.compile(
            keras_dawn.SGD(0.01, momentum=0.9),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        keras_dawn.accelerate(self.model)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.batch = (
            torch.randn(images, 32, 32, 3, device=device),
            torch.randint(0, 10, (images,), device=device),
        )
        self.fit(2)
        self.parallel = engine_of(self.model).steps.forward._training_call.call
        self.gradients = torch.zeros(self.bytes() // 4, device=device)

    def fit(self, steps):
        data = Repeated(self.batch, steps)
        data.set_share = lambda share, training: None  # a process's own part already
        self.model.fit(data, shuffle=False, verbose=0)

    def without_communication(self, steps):
        with self.parallel.no_sync():
            self.fit(steps)

    def all_reduce(self, steps):
        for _ in range(steps):
            dist.all_reduce(self.gradients)

    def bytes(self):
        return sum(4 * v.value.numel() for v in self.model.trainable_variables)

    def measure(self):
        """Median seconds a step of each of the three, and the bytes a process sends."""
        kinds = {"step": self.fit}
        if keras_dawn.distributed.current().several:
            kinds |= {"compute": self.without_communication, "all_reduce": self.all_reduce}
        times = {kind: [] for kind in kinds}
        for _ in range(FLAGS.rounds):
            for kind, work in kinds.items():
                _wait()
                start = time.perf_counter()
                work(STEPS)
                _wait()
                times[kind].append((time.perf_counter() - start) / STEPS)
        count = keras_dawn.distributed.current().world_size
        found = {f"{kind}_seconds": statistics.median(values) for kind, values in times.items()}
        found["bytes_sent_per_step"] = round(2 * (count - 1) / count * self.bytes())
        if count > 1:
            visible = found["step_seconds"] - found["compute_seconds"]
            found["overlap"] = 1 - visible / found["all_reduce_seconds"]
        return found


def _wait():
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    if dist.is_initialized():
        dist.barrier()


def work():
    """What each process does; rank 0 writes the results."""
    ranks = keras_dawn.distribute()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    strong = Contestant(FLAGS.batch_size // ranks.world_size).measure()
    weak = Contestant(FLAGS.batch_size).measure()
    if ranks.is_main:
        document = {"strong": strong, "weak": weak, "backend": ranks.backend}
        Path(FLAGS.worker).write_text(json.dumps(document), encoding="utf-8")


def run(processes):
    """Starts so many processes and returns what rank 0 measured."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "results.json"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        subprocess.run(
            [*torchrun, f"--nproc-per-node={processes}", __file__, *sys.argv[1:],
             f"--worker={path}"],
            check=True,
        )  # fmt: skip
        return json.loads(path.read_text(encoding="utf-8"))


def main(argv):
    if FLAGS.worker:
        work()
        return
    results = {count: run(count) for count in map(int, FLAGS.processes)}
    first = min(results)
    table = Table(title=f"{FLAGS.model}, width {FLAGS.width}, batch {FLAGS.batch_size}")
    for column in (
        "processes",
        "scaling",
        "speed-up",
        "efficiency",
        "overlap",
        "all-reduce ms",
        "MB sent",
    ):
        table.add_column(column)
    for count, result in results.items():
        for kind in ("strong", "weak"):
            ratio = results[first][kind]["step_seconds"] / result[kind]["step_seconds"]
            speed_up = ratio * (1 if kind == "strong" else count / first)
            overlap = result[kind].get("overlap")
            table.add_row(
                str(count), kind, f"{speed_up:.2f}", f"{speed_up * first / count:.2f}",
                "" if overlap is None else f"{overlap:.2f}",
                f"{1e3 * result[kind].get('all_reduce_seconds', 0.0):.1f}",
                f"{result[kind]['bytes_sent_per_step'] / 1e6:.1f}",
            )  # fmt: skip
    if FLAGS.json:
        document = {**environment(), "rounds": FLAGS.rounds, "results": results}
        Path(FLAGS.json).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    Console(width=100).print(table)


if __name__ == "__main__":
    command_line.run(main)
