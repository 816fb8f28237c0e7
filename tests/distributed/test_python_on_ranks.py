"""Models with Python of their own in two processes against one."""

import every_layer
import pytest
import python_scenarios
from comparing import largest_difference, run

from tests.processes import run_ranks

MESSAGES = {
    "gradients_that_no_backward_computes": "differs between the ranks",
    "refused": "on each rank alone",
}
NAMES = [name for name in python_scenarios.OWN if name not in {*MESSAGES, "resumed_own_state"}]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return run(2, tmp_path_factory.mktemp("own"), [*python_scenarios.OWN, "sample_of_layers"])


@pytest.fixture(scope="module")
def one():
    return {name: python_scenarios.OWN[name]() for name in NAMES}


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


def test_a_torch_modules_state_is_resumed_on_each_rank(two):
    first, second = two["resumed_own_state"]
    assert largest_difference(first["whole"], second["whole"]) == 0
    for result in (first, second):
        assert largest_difference(result["whole"], result["again"]) == 0
        assert result["whole"]["history"] == result["again"]["history"]


@pytest.mark.parametrize("name", list(MESSAGES))
def test_what_would_train_each_rank_alone_is_an_error(name, two):
    for result in two[name]:
        assert MESSAGES[name] in result["message"]


UNREACHED = pytest.mark.filterwarnings("ignore:Gradients do not exist")


@UNREACHED
@pytest.mark.parametrize("name", every_layer.SAMPLE)
def test_a_layer_inside_a_graph_is_trained_as_in_one_process(name, two):
    check_layer(name, [result[name] for result in two["sample_of_layers"]])


def check_layer(name, ranks):
    for result in ranks:
        assert not isinstance(result, str), result
    assert largest_difference(*ranks) == 0
    expected = every_layer.in_true_float64(name)
    assert ranks[0]["history"] == ranks[1]["history"]
    if not name.endswith("*"):
        assert largest_difference(ranks[0], expected) < 1e-11
        assert ranks[0]["history"]["loss"] == pytest.approx(expected["history"]["loss"], rel=1e-11)
    moved = largest_difference(
        {"weights": expected["weights"][: len(expected["start"])]}, {"weights": expected["start"]}
    )
    assert moved > 1e-3


def test_a_backward_pass_that_one_rank_alone_makes_ends_the_job():
    ended = run_ranks(2, python_scenarios.more_passes_on_one_rank)
    assert ended.printed.count("more backward passes on one rank") == 2, ended.printed


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return run(2, tmp_path_factory.mktemp("layers"), ["layers"])["layers"]


@pytest.mark.slow
@UNREACHED
@pytest.mark.parametrize("name", list(every_layer.CASES))
def test_every_layer_inside_a_graph_is_trained_as_in_one_process(name, swept):
    check_layer(name, [result[name] for result in swept])


@pytest.mark.slow
def test_the_sweep_has_every_layer_with_weights():
    cells = {"LSTMCell", "GRUCell", "SimpleRNNCell"}  # inside RNN and StackedRNNCells
    of_others = {"JaxLayer", "FlaxLayer"}  # they need JAX
    assert every_layer.with_weights() - cells - of_others - set(every_layer.CASES) == set()
