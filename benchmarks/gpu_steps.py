"""Training steps on a GPU: the cases, and how `gpu_contestants` are timed in them.

All contestants of a case are built first and then timed in turn, round by round.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import keras_dawn

import networks
import torch
import torchvision
from absl import flags
from gpu_contestants import Hand, Ours, device, now
from gpu_parts import skipped
from memory import peak_reserved_bytes, reserved

FLAGS = flags.FLAGS
MOST_ROUNDS, FEWEST_ROUNDS, SECONDS_A_CASE = 5, 3, 30


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
