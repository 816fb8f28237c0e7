"""Accelerated models against plain Keras, on programs drawn from seeds.

A failing test prints its program, made smaller; `python tests/native/fuzz.py --seed=N` replays it.
Left out is what plain Keras draws at random: layers that drop or add noise have a rate of 0 where
the model trains. Numbers count as different when they are apart by more than what noise of the
size of rounding does to plain Keras itself (`cases.judge`).
"""

import pytest

from tests.native.fuzzing.cases import check
from tests.native.fuzzing.shrink import shrunk


@pytest.mark.parametrize("seed", range(24))
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
    native = sum(case.native for case in cases)
    print(f"{native} of 1000 stepped natively")
    assert native >= 950


@pytest.mark.slow
def test_what_is_broken_on_purpose_is_found_within_a_hundred_programs():
    # Here, since it reaches into the package: the tests above need only `accelerate`.
    from tests.native.fuzzing.sabotage import SABOTAGES, caught

    seeds = caught(range(100), check)
    print(seeds)
    assert set(seeds) == set(SABOTAGES)
