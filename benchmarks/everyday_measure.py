"""One everyday case measured: its contestants in turn, round by round, in one process."""

import statistics
import time

import keras_dawn

import keras
import torch
from everyday_loop import AUTOCAST, COPY, Loop, difference, on_device
from everyday_variants import variants_of
from step_contestants import Repeated

HAND, OURS, PLAIN, COMPILED = "hand", "keras_dawn", "plain Keras", "keras_dawn, compiled"
PHASES = "train", "predict"
RATIOS = "n/t", "n/p", "c/t"  # accelerated over by hand and plain, compiled over by hand
EVALUATION, TRAINING, HALF = 3e-5, 2e-3, 0.03  # largest relative differences
KEPT = 2  # of the loops by hand, the quickest few are timed in all rounds
PLAIN_TURN = 5  # turns of ours: as long may one of plain Keras be


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
    halves = (AUTOCAST, COPY) if policy == "mixed_bfloat16" else (None,)
    found = {OURS: InKeras(case, policy, True), PLAIN: InKeras(case, policy)}
    for form, arguments in variants_of(case).items() if case.twin else ():
        for half in halves:
            keras.utils.set_random_seed(0)
            name = ", ".join(filter(None, (HAND, form, half)))
            found[name] = Loop(case, case.keras_model(), half, arguments)
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
    """How far the contestants' first predictions are from ours, relatively.

    Raises:
        ValueError: the two ways of a loop by hand to compute in bfloat16 are no twins.
    """
    outputs = {name: one.predict(batch, 1) for name, one in found.items()}
    outputs = {name: keras.tree.flatten(output)[0] for name, output in outputs.items()}
    for name in outputs:
        if name.endswith(COPY):
            autocast = outputs[name.replace(COPY, AUTOCAST)]
            if not (apart := _apart(outputs[name], autocast)) < HALF:
                raise ValueError(f"{name} is {apart:.1e} from autocast, {HALF} at most expected.")
    return {name: _apart(outputs[name], outputs[OURS]) for name in found if name != OURS}


def _apart(outputs, expected):
    return float(abs(outputs - expected).max() / abs(expected).max())


def _timed(one, phase, batch, steps, clock=time.perf_counter):
    start = clock()
    getattr(one, phase)(batch, steps)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - start) / steps


def _compare(found, phase, batch, rounds, seconds, clock):
    for one in found.values():
        _timed(one, phase, batch, 6)  # CUDA graphs are captured within these
    hands = _quickest(found, phase, batch, seconds, clock)
    found = {name: one for name, one in found.items() if not name.startswith(HAND) or name in hands}
    base = next(iter(hands), OURS)
    one_step = hands[base] if hands else _timed(found[base], phase, batch, 6, clock)
    steps = int(min(400, max(3, seconds / one_step)))
    steps_of = dict.fromkeys(found, steps) | {
        PLAIN: _steps_of_plain(found, phase, batch, steps, clock)
    }
    times = {name: [] for name in found}
    for _ in range(rounds):
        for name, one in found.items():
            times[name].append(_timed(one, phase, batch, steps_of[name], clock))
    result = {
        "steps": steps,
        "steps of plain Keras": steps_of[PLAIN],
        "milliseconds": {name: 1000 * statistics.median(each) for name, each in times.items()},
        "n/p": _ratio(times[OURS], times[PLAIN]),
    }
    if hands:
        best = min(hands, key=lambda name: statistics.median(times[name]))
        result |= {"by hand": best, "n/t": _ratio(times[OURS], times[best]),
                   "p/t": _ratio(times[PLAIN], times[best])}  # fmt: skip
        if COMPILED in times:
            result["c/t"] = _ratio(times[COMPILED], times[best])
    return result


def _quickest(found, phase, batch, seconds, clock, turns=3):
    """The quickest loops by hand, the first one first, each with the time of a step."""
    hands = {name: one for name, one in found.items() if name.startswith(HAND)}
    if not hands:
        return {}
    first = min(_timed(one, phase, batch, 2, clock) for one in hands.values())
    steps = int(min(100, max(1, seconds / turns / first)))
    times = dict.fromkeys(hands, float("inf"))
    for _ in range(turns):
        for name, one in hands.items():
            times[name] = min(times[name], _timed(one, phase, batch, steps, clock))
    return {name: times[name] for name in sorted(times, key=times.get)[:KEPT]}


def _steps_of_plain(found, phase, batch, steps, clock):
    """As many as the others do, unless a turn takes very much longer than theirs.

    Then a call of `fit` costs a small part of the turn, a smaller one than of theirs.
    """
    ours, plain = (
        _timed(found[name], phase, batch, min(steps, 6), clock) for name in (OURS, PLAIN)
    )
    return int(max(min(steps, 3), min(steps, PLAIN_TURN * steps * ours / plain)))


def _ratio(ours, theirs):
    """The median ratio of the rounds, the smallest and the largest."""
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return [statistics.median(ratios), min(ratios), max(ratios)]
