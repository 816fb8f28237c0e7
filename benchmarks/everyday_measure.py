"""One everyday case measured: its contestants in turn, round by round, in one process."""

import statistics
import time

import keras_dawn

import keras
import torch
from everyday_loop import Loop, difference, on_device
from step_contestants import Repeated

HAND, OURS, PLAIN, COMPILED = "hand", "keras_dawn", "plain Keras", "keras_dawn, compiled"
PHASES = "train", "predict"
RATIOS = "n/t", "n/p", "c/t"  # accelerated over by hand and plain, compiled over by hand
EVALUATION, TRAINING, HALF = 3e-5, 2e-3, 0.1  # largest relative differences


class InKeras:
    """A Keras model under `fit` and `predict`."""

    def __init__(self, case, policy, accelerated=False, compile=False):
        keras.utils.set_random_seed(0)
        keras.config.set_dtype_policy(policy)
        try:
            self.model = case.keras_model()
        finally:
            keras.config.set_dtype_policy("float32")
        if accelerated:
            keras_dawn.accelerate(self.model, compile=compile)

    def train(self, batch, steps):
        self.model.fit(Repeated(batch, steps), shuffle=False, verbose=0)

    def predict(self, batch, steps):
        return self.model.predict(Repeated(batch, steps), verbose=0)


def contestants(case, policy, compiled=False):
    """The contestants by name; there may be several loops by hand, of which the quickest counts."""
    half = policy == "mixed_bfloat16"
    found = {OURS: InKeras(case, policy, True), PLAIN: InKeras(case, policy)}
    formats = getattr(case.twin, "memory_formats", (None,)) if case.twin else ()
    for number, memory_format in enumerate(formats):
        keras.utils.set_random_seed(0)
        found[f"{HAND} {number}"] = Loop(case, case.keras_model(), half, memory_format)
    if compiled:
        found[COMPILED] = InKeras(case, policy, True, compile=True)
    return found


def check(case):
    """The differences between the Keras model and its twin; `ValueError` if it is no twin."""
    if case.twin is None:
        return {}
    evaluation, training = difference(case)
    if not evaluation < EVALUATION or not (training is None or training < TRAINING):
        raise ValueError(f"{case.name}: no twins, {evaluation:.1e} and {training} apart")
    return {"evaluation": evaluation, "training": training}


def measure(case, policy, rounds, seconds, *, clock=time.perf_counter, compiled=False):
    """Times of a step by phase and contestant, and their ratios, as a dict for JSON.

    Args:
        case: `Case`.
        policy: str; "float32" or "mixed_bfloat16".
        rounds: int; how often each contestant has its turn.
        seconds: float; about how long a turn of the loop by hand takes.
        clock: function; `time.process_time` where other work runs on the machine.
        compiled: bool; ours under `torch.compile`, too.
    """
    batch = on_device(case.batch())
    found = contestants(case, policy, compiled)
    differences = _outputs_apart(found, batch)
    result = {"own_python": case.own_python, "outputs_apart": differences}
    for phase in PHASES:
        result[phase] = _compare(found, phase, batch, rounds, seconds, clock)
    return result


def _outputs_apart(found, batch):
    """How far the contestants' first predictions are from ours, relatively."""
    outputs = {name: one.predict(batch, 1) for name, one in found.items()}
    outputs = {name: keras.tree.flatten(output)[0] for name, output in outputs.items()}
    scale = abs(outputs[OURS]).max()
    return {
        name: float(abs(output - outputs[OURS]).max() / scale)
        for name, output in outputs.items()
        if name != OURS
    }


def _timed(one, phase, batch, steps, clock=time.perf_counter):
    start = clock()
    getattr(one, phase)(batch, steps)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - start) / steps


def _compare(found, phase, batch, rounds, seconds, clock):
    for one in found.values():
        _timed(one, phase, batch, 6)  # CUDA graphs are captured within these
    base = min((name for name in found if name.startswith(HAND)), default=OURS,
               key=lambda name: _timed(found[name], phase, batch, 6))  # fmt: skip
    steps = int(min(400, max(3, seconds / _timed(found[base], phase, batch, 6))))
    steps_of = {name: max(2, steps // 4) if name == PLAIN else steps for name in found}
    times = {name: [] for name in found}
    for _ in range(rounds):
        for name, one in found.items():
            times[name].append(_timed(one, phase, batch, steps_of[name], clock))
    hands = {name: statistics.median(times[name]) for name in found if name.startswith(HAND)}
    result = {
        "steps": steps,
        "milliseconds": {name: 1000 * statistics.median(each) for name, each in times.items()},
        "n/p": _ratio(times[OURS], times[PLAIN]),
    }
    if hands:
        best = min(hands, key=hands.get)
        result |= {"n/t": _ratio(times[OURS], times[best]),
                   "p/t": _ratio(times[PLAIN], times[best])}  # fmt: skip
        if COMPILED in times:
            result["c/t"] = _ratio(times[COMPILED], times[best])
    return result


def _ratio(ours, theirs):
    """The median ratio of the rounds, the smallest and the largest."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return [statistics.median(ratios), min(ratios), max(ratios)]
