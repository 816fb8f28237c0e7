"""Training steps on a GPU: ours under `fit`, plain Keras, and loops as one writes them by hand.

All contestants of a case are built first and then timed in turn, round by round.
"""

import contextlib
import statistics
import time

import keras_dawn
from keras_dawn.native import cuda_graph

import gpu_checks
import keras
import networks
import torch
import torch.nn.functional as F
import torchvision
from memory import peak_bytes
from step import Repeated

SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}


def device():
    return "cuda" if torch.cuda.is_available() else "cpu"


class Ours:
    """A Keras model under `fit`: accelerated with or without CUDA graphs, or plain."""

    def __init__(self, build, policy, graphs=True, accelerated=True):
        keras.config.set_dtype_policy(policy)
        self.model = build()
        keras.config.set_dtype_policy("float32")
        optimizer = keras_dawn.SGD(SGD["lr"], momentum=0.9, weight_decay=1e-4)
        if policy == "mixed_float16":
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=512.0)
        self.model.compile(optimizer, gpu_checks.LOSS, metrics=["accuracy"])
        if accelerated:
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


def cases(tiny):
    """`(title, Keras network, torch network, images a batch, pixels, policy)`, dearest last."""
    if tiny:
        shape = networks.wrn(10, 1)
        for policy in ("mixed_bfloat16", "mixed_float16"):
            yield (
                "WRN-10-1, 32 px",
                lambda: networks.in_keras(shape),
                lambda: networks.in_torch(shape),
                *(8, 32, policy),
            )
        return
    shape = networks.wrn(22, 6)
    for policy in ("mixed_bfloat16", "mixed_float16"):
        yield (
            "WRN-22-6, 32 px",
            lambda: networks.in_keras(shape),
            lambda: networks.in_torch(shape),
            *(512, 32, policy),
        )
        yield ("ResNet-50, 224 px", keras_dawn.models.ResNet50, torchvision.models.resnet50,
               *(128, 224, policy))  # fmt: skip
    for size in (128, 288):
        for policy in ("mixed_bfloat16", "mixed_float16"):
            yield (f"ResNet-50, {size} px", keras_dawn.models.ResNet50,
                   torchvision.models.resnet50, *(128, size, policy))  # fmt: skip


def contestants(ours, theirs, policy, batch, compiled):
    """Builders by name, the base of all ratios first."""
    builders = {
        "hand": lambda: Hand(theirs(), policy, batch),
        "hand, CUDA graph": lambda: Hand(theirs(), policy, batch, "graph"),
        "keras_dawn": lambda: Ours(ours, policy),
        "keras_dawn, no graph": lambda: Ours(ours, policy, graphs=False),
        "plain Keras": lambda: Ours(ours, policy, accelerated=False),
    }
    if compiled:
        builders["hand, compiled"] = lambda: Hand(theirs(), policy, batch, "compiled")
    return builders


def measure(ours, theirs, count, size, policy, *, tiny, compiled=False):
    """By contestant: images a second, times over the hand-written loop's, peak memory.

    A contestant that fails is reported with its error, and the others are measured.
    """
    batch = (
        torch.randn(count, size, size, 3, device=device()),
        torch.randint(0, 10, (count,), device=device()),
    )
    results, built = {}, {}
    for name, build in contestants(ours, theirs, policy, batch, compiled).items():
        began = time.perf_counter()
        try:
            built[name] = build()
            peak = peak_bytes(lambda name=name: built[name].train(batch, 5))
            results[name] = {"peak_mib": peak / 2**20, "first_5_steps_seconds": _since(began)}
        except Exception as error:  # reported, whatever it is: a GPU is rare
            built.pop(name, None)
            results[name] = {"error": repr(error)[:500]}
    steps, rounds = (2, 2) if tiny else (10, 7)
    seconds = {name: [] for name in built}
    for _ in range(rounds):
        for name, one in built.items():
            clock = keras_dawn.TrainingClock()
            one.train(batch, steps)
            clock.pause()  # waits for the GPU
            seconds[name].append(clock.training_seconds() / steps)
    for name, values in seconds.items():
        over = sorted(a / b for a, b in zip(values, seconds.get("hand", values), strict=True))
        results[name] |= {
            "images_per_second": count / statistics.median(values),
            "time_over_hand": statistics.median(over),
            "time_over_hand_lowest_and_highest": [over[0], over[-1]],
        }
    return results


def _since(began):
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def kernels_of_a_step(ours, count, size, policy):
    """What torch's profiler sees of one graphed step: kernels, busy time, the largest ones."""
    batch = (
        torch.randn(count, size, size, 3, device=device()),
        torch.randint(0, 10, (count,), device=device()),
    )
    one = Ours(ours, policy)
    one.train(batch, 6)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if device() == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    steps = 5
    with contextlib.suppress(RuntimeError), torch.profiler.profile(activities=activities) as seen:
        one.train(batch, steps)
        _since(0)
    averages = seen.key_averages()
    kind = "self_device_time_total" if device() == "cuda" else "self_cpu_time_total"
    rows = sorted(averages, key=lambda row: -getattr(row, kind))
    return {
        "busy_ms_a_step": sum(getattr(row, kind) for row in rows) / 1000 / steps,
        "launches_a_step": sum(r.count for r in averages if "cudaLaunchKernel" in r.key) / steps,
        "graph_launches_a_step": sum(r.count for r in averages if "GraphLaunch" in r.key) / steps,
        "largest": [
            {"name": row.key[:80], "ms_a_step": getattr(row, kind) / 1000 / steps,
             "calls_a_step": row.count / steps}
            for row in rows[:15]
        ],
    }  # fmt: skip
