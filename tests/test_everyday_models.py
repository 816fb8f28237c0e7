"""The twins by hand of the everyday models compute what the Keras models compute."""

import pytest
from everyday_recurrent import cases, difference
from everyday_twins import Loop


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_twin_by_hand_computes_the_same(case):
    assert difference(case) < 1e-5
    loop, batch = Loop(case, case.keras_model()), case.batch()
    loop.train(batch, 1)
    assert float(loop.total) > 0
