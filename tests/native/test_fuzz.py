"""Accelerated models against plain Keras, on programs drawn from seeds.

A failing test prints its program, made smaller; `python tests/native/fuzz.py --seed=N` replays it.
"""

import pytest

from tests.native.fuzzing.cases import check
from tests.native.fuzzing.sabotage import SABOTAGES, caught
from tests.native.fuzzing.shrink import shrunk


@pytest.mark.parametrize("seed", range(40))
def test_a_drawn_program_gives_the_same_numbers_accelerated(seed):
    case = check(seed)
    assert not case.found, f"\n{shrunk(case, seconds=2)}"


@pytest.mark.slow
def test_a_thousand_drawn_programs_give_the_same_numbers_accelerated():
    cases = [check(seed) for seed in range(1000, 2000)]
    failing = [case for case in cases if case.found]
    seeds = [case.program.seed for case in failing]
    assert not failing, f"{len(seeds)} of 1000 differ: {seeds}\n{shrunk(failing[0], seconds=60)}"
    assert sum(case.unstable for case in cases) < 50  # these say nothing
    assert sum(case.native for case in cases) > 600


@pytest.mark.slow
def test_what_is_broken_on_purpose_is_found_within_a_hundred_programs():
    assert set(caught(range(100), check)) == set(SABOTAGES)
