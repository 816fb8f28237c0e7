"""Trainings of every kind, interrupted at random moments, end with the bits of an unbroken one.

All of it takes over a quarter of an hour on two cores: `python -m pytest -m slow
tests/resume/test_matrix.py -s` prints what was counted.
"""

import random

import pytest
import torch

from tests.processes import Program
from tests.resume import matrix_lives
from tests.resume.matrix_lives import MOMENTS, SIGNALS
from tests.resume.matrix_training import KINDS, NEIGHBOURS, OPTIMIZERS, REFUSED, WAYS
from tests.resume.pairs import cover, met

FACTORS = [list(KINDS), WAYS, OPTIMIZERS, NEIGHBOURS]
EACH = 7  # interruptions of a training
PROCESSES = 2


def interruptions(draw, deck):
    """`(signal, moment, count)` of lives one after the other; the deck is gone through evenly."""
    for number in range(EACH):
        if not deck:
            deck += [(name, moment) for name in SIGNALS for moment in MOMENTS]
            draw.shuffle(deck)
        name, moment = deck.pop()
        most = {
            "step": 6,
            "validation": 3,
            "writing": 2,
            "between": 1,
            "resuming": 2,
        }
        yield name, moment, draw.randint(1, most[moment] if number else 1)


def run(cases, tmp_path, seed):
    """What is found in all cases, in a few processes at a time."""
    draw, deck = random.Random(seed), []
    work = [(n, case, list(interruptions(draw, deck))) for n, case in enumerate(cases)]
    programs = [
        Program(matrix_lives.run_cases, part, work, str(tmp_path)) for part in range(PROCESSES)
    ]
    for program in programs:
        done = program.wait(7200)
        assert done.returncode == 0, done.printed[-4000:]
    found = [f for part in range(PROCESSES) for f in torch.load(tmp_path / f"found-{part}.pt")]
    happened = [one for each in found for one in each["happened"]]
    wrong = [message for each in found for message in each["wrong"]]
    refused, native = (sum(each[name] for each in found) for name in ("refused", "native"))
    print(
        f"\n{len(cases)} trainings, {len(happened)} interruptions, of which "
        f"{sum(not each['wrong'] for each in found) - refused} trainings ended with the bits of "
        f"the unbroken one, {refused} were refused at the beginning; {native} lives trained native."
    )
    assert not wrong, "\n\n".join(wrong)
    return happened, refused, native


def test_a_pair_of_each_kind_is_covered():
    cases = cover(FACTORS, 2, seed=1)
    assert len(cases) < 150 and min(met(cases).values()) >= 2
    pairs = sum(len(a) * len(b) for n, a in enumerate(FACTORS) for b in FACTORS[n + 1 :])
    assert len(met(cases)) == pairs


def test_a_few_trainings_end_as_if_nothing_had_happened(tmp_path):
    cases = [("loader", "plain", "Adam", "stock"), ("plan", "accelerated", "SGD", "averages")]
    happened, _, native = run(cases, tmp_path, seed=5)
    assert len(happened) > 8 and native > 4


@pytest.mark.slow
def test_six_hundred_interruptions_leave_no_trace(tmp_path):
    happened, refused, native = run(cover(FACTORS, 2, seed=1), tmp_path, seed=1)
    assert len(happened) >= 600 and native and refused
    served = [[kind for kind in KINDS if kind not in REFUSED], *FACTORS[1:], SIGNALS, MOMENTS]
    counts = met(happened)
    for a, first in enumerate(served):
        for b, second in enumerate(served[a + 1 :], a + 1):
            for one in first:
                for other in second:
                    assert counts[(a, one, b, other)] >= 2, (one, other)
