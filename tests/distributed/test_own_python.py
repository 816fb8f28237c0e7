"""Models with Python of their own in two processes against one."""

import own_python
import pytest
from comparing import largest_difference, run

ERROR = "gradients_that_no_backward_computes"
NAMES = [name for name in own_python.OWN if name != ERROR]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return run(2, tmp_path_factory.mktemp("own"), list(own_python.OWN))


@pytest.fixture(scope="module")
def one():
    return {name: own_python.OWN[name]() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_training_is_that_of_one_process(name, one, two):
    first, second = two[name]
    assert largest_difference(first, second) == 0
    assert largest_difference(first, second, "optimizers") == 0
    assert first["history"] == second["history"]
    assert largest_difference(first, one[name]) < 1e-12
    assert largest_difference(first, one[name], "optimizers") < 1e-12
    for key, values in one[name]["history"].items():
        if key != "last":  # of the last part, not of all
            assert first["history"][key] == pytest.approx(values, rel=1e-12), key
    moved = {"weights": one[name]["start"]}
    assert largest_difference(one[name], moved) > 1e-3


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("gan")])
def test_it_is_evaluated_and_predicts_as_in_one_process(name, one, two):
    for result in two[name]:
        assert result["evaluated"] == pytest.approx(one[name]["evaluated"], rel=1e-12)
        assert largest_difference(result, one[name], "predicted") < 1e-12


def test_weights_that_drift_apart_end_the_training(two):
    for result in two[ERROR]:
        assert "differs between the ranks" in result["message"]
