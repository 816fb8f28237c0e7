"""Draws a program, runs it plain and accelerated, and judges the differences."""

import dataclasses
import re
from dataclasses import dataclass

import numpy as np

from tests.native.fuzzing.compare import differences, tolerance
from tests.native.fuzzing.drawing import draw_program
from tests.native.fuzzing.execution import run
from tests.native.fuzzing.optimizers import LOSS_SCALE
from tests.native.fuzzing.programs import Program

NOISE = {1e-9: 1e-13, 2e-4: 3e-7, 1e-2: 5e-4, 5e-2: 4e-3}  # by tolerance: what rounding amounts to
ATTEMPTS = 30
TRIES = 8  # of noise; each leaves fewer differences, and mostly the first leaves none


@dataclass
class Case:
    """What came of one program.

    Args:
        program: `Program`.
        found: list of `Difference`, empty where accelerated and plain are the same.
        native: bool, whether the model stepped natively.
        unstable: bool, whether plain Keras itself gives other numbers under noise of the size
            of rounding, so that the difference says nothing.
        statement: str, the first one with a difference.
    """

    program: Program
    found: list
    native: bool
    unstable: bool = False
    statement: str = ""

    def __str__(self):
        lines = [self.program.source()]
        if self.found:
            lines.append(f"# differs first at: {self.statement}")
            lines += [f"#   {d.what}: {d.message} ({d.size})" for d in self.found[:8]]
        return "\n".join(lines)


def check(seed, precision=None, skip=None):
    """The `Case` of a seed: the first attempt that plain Keras accepts.

    Args:
        seed: int.
        precision: str or `None`, instead of the drawn one.
        skip: regular expression or `None`; `None` is returned where it matches the program or
            what is found.
    """
    for attempt in range(ATTEMPTS):
        program = draw_program(seed, attempt)
        if program is None:
            continue
        if precision:
            program = dataclasses.replace(program, precision=precision)
        plain, _ = run(program, native=False)
        if _accepted(program, plain):
            if skip and re.search(skip, program.source()):
                return None
            case = judge(program, plain)
            return None if skip and re.search(skip, str(case)) else case
    raise AssertionError(f"seed {seed}: plain Keras accepted none of {ATTEMPTS} draws")


def judge(program, plain=None):
    """Runs a program and compares."""
    if plain is None:
        plain, _ = run(program, native=False)
    ours, native = run(program, native=True)
    allowed = tolerance(program)
    found = differences(plain, ours, allowed)
    if not found:
        return Case(program, [], native)
    first = plain[found[0].statement]
    if _skipped_a_step(first):
        return Case(program, [], native, unstable=True, statement=first.statement)
    values = [d for d in found if d.size is not None or d.what.startswith("value")]
    certain = [d for d in found if d not in values]
    if not _diverged(first):
        certain += _beyond_noise(program, plain, values, allowed)
    return Case(program, certain, native, unstable=not certain, statement=first.statement)


def _accepted(program, plain):
    """Whether plain Keras built and trained the model; a later error may be on purpose."""
    if not plain or (plain[0].error and plain[0].statement not in program.doing()):
        return False
    erring = [number for number, outcome in enumerate(plain) if outcome.error]
    return not erring or erring[0] > len(program.compile)


def _skipped_a_step(outcome):
    """Whether plain Keras has skipped a step that overflowed.

    On purpose its moving averages, which may be infinite then, are not the accelerated model's.
    """
    scales = [v for name, v in outcome.state.items() if name.endswith("dynamic_scale")]
    return any(scale < LOSS_SCALE for scale in scales)


def _diverged(outcome):
    """Whether plain Keras's weights have grown beyond all measure.

    Where the next step squares them, a rounding error decides between infinity and a number.
    """
    weights = [v for name, v in outcome.state.items() if name.startswith("weight")]
    return any((np.isfinite(w) & (np.abs(w) > 1e12)).any() for w in weights)


def _beyond_noise(program, plain, found, allowed):
    """The differences that are larger than what noise of rounding's size makes."""
    continuous = [d for d in found if d.size is not None and not d.is_counted()]
    for seed in range(TRIES):
        if not found:
            break
        pushed, _ = run(program, native=False, noise=NOISE[allowed], noise_seed=seed)
        number = found[0].statement
        if len(pushed) <= number or pushed[number].error:
            return []
        noise = {d.what: d for d in differences([plain[number]], [pushed[number]], 0.0)}
        found = [d for d in found if not _is_explained(d, noise.get(d.what))]
    if continuous and all(d.is_counted() for d in found):
        # Weights or outputs are apart as far as noise explains. An example that this turns over
        # makes a jump in what is counted, on one side of a threshold: the tries may miss it.
        return []
    return found


def _is_explained(difference, noise):
    """Whether noise alone makes such a difference; `noise` is what it made, or `None`."""
    if noise is None:
        return False
    if difference.size is None:
        return noise.size is None  # how long a history is, which hangs on comparisons of numbers
    return noise.size is not None and difference.size <= 20 * noise.size
