"""What torch's profiler sees of training steps on a GPU."""

import os

import gpu_steps
import torch
from absl import flags
from gpu_parts import skipped
from memory import reserved
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

FLAGS = flags.FLAGS
STEPS = 5


def run(cases):
    """Ours and the hand-written loop, for each of the main cases.

    On a processor the same is done, and said to have been skipped.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # or the profiler prints when it starts and ends
    for case in gpu_steps.main_pairs()[: 1 if FLAGS.tiny else None]:
        for contestant in ("keras_dawn", "hand", "hand, CUDA graph"):
            name = f"{case.name}: {contestant}"
            if not cases.is_missing(name):
                continue
            batch = case.batch()
            one = gpu_steps.contestants(case, batch, compiled=False)[contestant]()
            found = kernels_of_a_step(one, batch)
            cases.keep(
                name, found if torch.cuda.is_available() else skipped("only a GPU has kernels")
            )
            del one
            reserved()  # gives back what it held


def kernels_of_a_step(one, batch):
    """Launches, copies and busy time a step, and the kernels that take longest.

    What `fit` does besides, making a graph included, is taken off: it is in a shorter `fit`, too.
    """
    if torch.cuda.is_available():
        one.train(batch, 8)  # what happens once is over
    first = 10 if torch.cuda.is_available() else 1  # in each `fit` a graph is made anew
    few, many = (_profiled(one, batch, steps) for steps in (first, first + STEPS))
    names = {*few, *many}
    per_step = {
        name: [(a - b) / STEPS for a, b in zip(many[name], few[name], strict=True)]
        for name in names
        if name in many and name in few
    } | {name: [value / STEPS for value in many[name]] for name in names if name not in few}
    kernels = {name[1]: row for name, row in per_step.items() if name[0] == "kernel"}
    if not kernels:
        raise RuntimeError("The profiler saw no kernel; KINETO_LOG_LEVEL=3 lets it say why.")
    calls = {name[1]: row for name, row in per_step.items() if name[0] == "host"}

    def count(part):
        return round(sum(row[0] for name, row in calls.items() if part in name), 2)

    largest = sorted(kernels.items(), key=lambda item: -item[1][1])
    return {
        "busy_ms_a_step": sum(row[1] for row in kernels.values()) / 1000,
        "kernels_a_step": round(sum(row[0] for row in kernels.values()), 2),
        "launches_a_step": count("LaunchKernel"),
        "graph_launches_a_step": count("GraphLaunch"),
        "copies_a_step": count("cudaMemcpyAsync"),
        "waits_a_step": count("Synchronize"),
        "largest": [
            {"name": name[:90], "ms_a_step": row[1] / 1000, "calls_a_step": row[0]}
            for name, row in largest[:20]
        ],
    }


def _profiled(one, batch, steps):
    """`(calls, microseconds on the device)` by `("kernel" or "host", name)`."""
    on_gpu = torch.cuda.is_available()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as seen:
        one.train(batch, steps)
        if on_gpu:
            torch.cuda.synchronize()
    found = {}
    for row in seen.key_averages():
        # On a GPU an operator's own row counts its kernels once more: the kernels' rows alone.
        kernel = row.device_type == DeviceType.CUDA or not on_gpu
        time = row.self_device_time_total if on_gpu else row.self_cpu_time_total
        key = ("kernel" if kernel else "host", row.key)
        found[key] = (row.count, time)
    return found
