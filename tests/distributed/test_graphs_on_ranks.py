"""Steps of several ranks as CUDA graphs, in which the gradients are averaged."""

import graph_scenarios
import pytest
import torch
from comparing import assert_same_trainings, found_by_two_ranks
from graph_scenarios import CASES


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return found_by_two_ranks(graph_scenarios.main, tmp_path_factory.mktemp("graphs"), 300)


def assert_close(ours, theirs, tolerance):
    for tensor, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(tensor, torch.as_tensor(other), rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_graphs_give_what_ordinary_steps_give_and_distributed_data_parallel(name, ranks):
    for found in (rank[name] for rank in ranks):
        how, made, replayed = found["how"]
        assert how == "the whole step" and made >= 1 and replayed > 8
        assert_same_trainings(found["graphed"], found["eager"])
        # There a momentum that moves is a Python number, which rounds; and float16's sums round on
        # some processors by where a tensor lies in memory.
        if name in ("one cycle", "loss scaling"):
            assert_close(found["graphed"][0], found["by torch"][0], 1e-6)
            assert found["graphed"][1]["loss"] == pytest.approx(found["by torch"][1]["loss"], 1e-6)
        else:  # of two numbers there is one sum
            assert_same_trainings(found["graphed"], found["by torch"])
        assert "averaged by the CUDA graph" in found["explained"]


def test_the_same_as_in_one_process(ranks):
    name = "like one process"
    alone, _ = CASES[name].train(graphs=False)
    assert_close(ranks[0][name]["graphed"][0], graph_scenarios.everything(alone), 1e-5)
