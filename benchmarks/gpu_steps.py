"""Training steps on a GPU: ours under `fit`, plain Keras, and loops as one writes them by hand.

All contestants of a case are built first and then timed in turn, round by round.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras_dawn
from keras_dawn.native import cuda_graph
from keras_dawn.native.lowering.rules import batch_normalization

import gpu_checks
import keras
import networks
import torch
import torch.nn.functional as F
import torchvision
from absl import flags
from gpu_parts import skipped
from memory import peak_reserved_bytes, reserved
from step_contestants import Repeated

FLAGS = flags.FLAGS
MOST_ROUNDS, FEWEST_ROUNDS, SECONDS_A_CASE = 5, 3, 30
SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


def device():
    return "cuda" if torch.cuda.is_available() else "cpu"


class Timed(Repeated):
    """A batch as data for `fit`, which looks at the clock when some steps are done.

    A graph is made anew in each `fit`, after three ordinary steps.
    """

    def __init__(self, batch, untimed, steps):
        super().__init__(batch, untimed + steps)
        self.untimed, self.began = untimed, None

    def __iter__(self):
        for step in range(self.steps):
            if step == self.untimed:
                self.began = now()
            yield self.batch


def now():
    """Seconds, when the GPU is done with what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


class Ours:
    """A Keras model under `fit`: accelerated with or without CUDA graphs, or plain.

    `cudnn` says who computes batch normalisation in float16.
    """

    def __init__(self, build, policy, graphs=True, accelerated=True, cudnn=True):
        keras.config.set_dtype_policy(policy)
        self.model = build()
        keras.config.set_dtype_policy("float32")
        optimizer = keras_dawn.SGD(SGD["lr"], momentum=0.9, weight_decay=1e-4)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=512.0)
        self.model.compile(optimizer, gpu_checks.LOSS, metrics=["accuracy"])
        if accelerated:
            keras_dawn.accelerate(self.model)
        self.graphs, self.cudnn = graphs, cudnn

    def train(self, batch, steps):
        self._fit(Repeated(batch, steps))

    def turn(self, batch, steps):
        """Seconds that so many steps take, those before the graph is made not counted."""
        data = Timed(batch, 1 if FLAGS.tiny else 8, steps)
        self._fit(data)
        return now() - data.began

    def _fit(self, data):
        before = cuda_graph.WARM_UP_STEPS, batch_normalization.CUDNN_IN_FLOAT16
        batch_normalization.CUDNN_IN_FLOAT16 = self.cudnn
        if not self.graphs:
            cuda_graph.WARM_UP_STEPS = 10**9
        try:
            self.model.fit(
                data, shuffle=False, verbose=0,
                callbacks=[keras_dawn.OneCycle(0.01)],
            )  # fmt: skip
        finally:
            cuda_graph.WARM_UP_STEPS, batch_normalization.CUDNN_IN_FLOAT16 = before


class Hand:
    """A hand-written loop: channels_last, autocast, fused SGD, loss and accuracy on the device."""

    def __init__(self, network, policy, batch, how=None):
        self.network = network.to(device(), memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.SGD(self.network.parameters(), fused=True, **SGD)
        self.dtype = getattr(torch, policy.removeprefix("mixed_"))
        self.scaler = torch.amp.GradScaler(device(), enabled=self.dtype == torch.float16)
        self.loss, self.hits = (torch.zeros((), device=device()) for _ in range(2))
        self.forward = self.network
        if how == "compiled":
            self.forward = torch.compile(self.network)
        elif how == "graph" and device() == "cuda":
            sample = self._images(batch[0])
            with torch.autocast("cuda", self.dtype, cache_enabled=False):
                self.forward = torch.cuda.make_graphed_callables(self.network, (sample,))
        self.cache = how != "graph"  # autocast's copies of weights do not outlive a graph

    def turn(self, batch, steps):
        """Seconds that so many steps take."""
        began = now()
        self.train(batch, steps)
        return now() - began

    def _images(self, x):
        return x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)

    def train(self, batch, steps):
        x, y = batch
        for step in range(steps):
            for group in self.optimizer.param_groups:
                group["lr"] = SGD["lr"] * (1 - step / steps)
            with torch.autocast(device(), self.dtype, cache_enabled=self.cache):
                outputs = self.forward(self._images(x))
            loss = F.cross_entropy(outputs.float(), y)
            self.optimizer.zero_grad()
            self.scaler.scale(loss).backward()
            self.scaler.step(self.optimizer)
            self.scaler.update()
            with torch.no_grad():
                self.loss += loss.detach() * len(y)
                self.hits += (outputs.argmax(1) == y).sum()


@dataclass(frozen=True)
class Case:
    """A network in Keras and by hand, a batch, a precision."""

    title: str
    ours: Callable
    theirs: Callable
    count: int  # images a batch
    size: int  # pixels
    policy: str

    @property
    def name(self):
        return f"{self.title}, {self.size} px, batch {self.count}, {self.policy}"

    def batch(self):
        return (
            torch.randn(self.count, self.size, self.size, 3, device=device()),
            torch.randint(0, 10, (self.count,), device=device()),
        )


ASIDE = ("hand, CUDA graph", "keras_dawn, no graph", "plain Keras", "keras_dawn, torch's BN")
ON_A_GPU = {
    "hand, CUDA graph": "only a GPU has CUDA graphs",
    "keras_dawn, no graph": "only a GPU has CUDA graphs",
    "keras_dawn, torch's BN": "only a GPU has cuDNN",
}
POLICIES = ("mixed_bfloat16", "mixed_float16")


def wide(policy, depth=22, width=6, count=512):
    shape = networks.wrn(depth, width)
    return Case(
        f"WRN-{depth}-{width}",
        lambda: networks.in_keras(shape),
        lambda: networks.in_torch(shape),
        *(count, 32, policy),
    )


def resnet(size, policy):
    models = keras_dawn.models.ResNet50, torchvision.models.resnet50
    return Case("ResNet-50", *models, 128, size, policy)


def main_pairs():
    """The cases that everything else is about, by precision, the dearest answer first."""
    if FLAGS.tiny:
        return [wide(policy, 10, 1, 2) for policy in POLICIES]
    return [case for policy in POLICIES for case in (resnet(224, policy), wide(policy))]


def main_cases(cases):
    _measure_all(cases, main_pairs())


def other_sizes(cases):
    sizes = [] if FLAGS.tiny else [128, 288]
    _measure_all(
        cases,
        [resnet(size, policy) for policy in reversed(POLICIES) for size in sizes],
        without=ASIDE,
    )


def heuristics(cases):
    """With the algorithms that cuDNN guesses; in a process of its own, as it keeps its choices."""
    torch.backends.cudnn.benchmark = False
    _measure_all(cases, main_pairs()[:1] if FLAGS.tiny else main_pairs()[:2], without=ASIDE)


def compiled(cases):
    """Beside `torch.compile`, which takes a minute for its first steps."""
    found = main_pairs()[:1] if FLAGS.tiny else main_pairs()
    _measure_all(cases, found, compiled=not FLAGS.tiny, without=ASIDE)


def _measure_all(cases, found, compiled=False, without=()):
    for case in found:
        if cases.is_missing(case.name):
            cases.keep(case.name, measure(case, compiled, without))
            after = reserved()  # the pools of all contestants are gone, or the next would suffer
            if torch.cuda.is_available():
                print(f"{after / 2**20:.0f} MiB stay reserved after {case.name}", flush=True)


def contestants(case, batch, compiled):
    """Builders by name, the base of all ratios first."""
    ours, theirs, policy = case.ours, case.theirs, case.policy
    builders = {
        "hand": lambda: Hand(theirs(), policy, batch),
        "hand, CUDA graph": lambda: Hand(theirs(), policy, batch, "graph"),
        "keras_dawn": lambda: Ours(ours, policy),
        "keras_dawn, no graph": lambda: Ours(ours, policy, graphs=False),
        "plain Keras": lambda: Ours(ours, policy, accelerated=False),
    }
    if policy == "mixed_float16":
        builders["keras_dawn, torch's BN"] = lambda: Ours(ours, policy, cudnn=False)
    if compiled:
        builders["hand, compiled"] = lambda: Hand(theirs(), policy, batch, "compiled")
    return builders


def measure(case, compiled=False, without=()):
    """By contestant: images a second, times over the hand-written loop's, peak memory.

    A turn is 50 steps (10 of plain Keras). A contestant that fails is reported with its error, and
    the others are measured. On a processor `ON_A_GPU` are built and take a step, and are skipped.
    """
    batch, results, built = case.batch(), {}, {}
    for name, build in contestants(case, batch, compiled).items():
        if name in without:
            continue
        began, before = time.perf_counter(), reserved()
        try:
            built[name] = build()
            built[name].train(batch, 1 if FLAGS.tiny else 6)
            results[name] = {"first_6_steps_seconds": now() - began}
            if name in ON_A_GPU and not torch.cuda.is_available():
                del built[name]
                results[name] = skipped(ON_A_GPU[name])
            elif torch.cuda.is_available():
                peak = peak_reserved_bytes(lambda name=name: built[name].train(batch, 5), before)
                results[name]["peak_mib"] = peak / 2**20
        except Exception as error:  # reported, whatever it is: a GPU is rare
            built.pop(name, None)
            results[name] = {"error": repr(error)[:500]}
    seconds, began = {name: [] for name in built}, time.perf_counter()
    rounds = 1 if FLAGS.tiny else MOST_ROUNDS
    for number in range(rounds):
        if number >= FEWEST_ROUNDS and time.perf_counter() - began > SECONDS_A_CASE:
            break
        for name, one in built.items():
            steps = 1 if FLAGS.tiny else 10 if name == "plain Keras" else 50
            seconds[name].append(one.turn(batch, steps) / steps)
    for name, values in seconds.items():
        over = sorted(a / b for a, b in zip(values, seconds.get("hand", values), strict=True))
        results[name] |= {
            "images_per_second": case.count / statistics.median(values),
            "time_over_hand": statistics.median(over),
            "time_over_hand_lowest_and_highest": [over[0], over[-1]],
            "rounds": len(values),
        }
    return results
