"""What each rank of another job gets of a checkpoint, rule by rule, and what is refused."""

from keras_dawn.foundation import keras_fit
from keras_dawn.foundation.random_state import random_state, set_random_state
from keras_dawn.resume.data_order import DataOrder, check_order
from keras_dawn.resume.other_ranks import share_of

import keras
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from tests.foundation.test_keras_fit import fit


@pytest.fixture
def model():
    inputs = keras.Input((4,))
    x = keras.layers.Dropout(0.5, seed=11)(keras.layers.BatchNormalization()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(x))
    model.compile("sgd", "mse")
    return model


def position(rank, **changes):
    torch.manual_seed(rank)
    note = {"random": random_state(), "data": {}, "validation": {}, "passes": None}
    plain = {"open": True, "at_start": True, "fetched": 3, "earlier": [], "digest": None}
    return {**plain, "made": note, "begun": note, "first": None, "now": note, **changes}


def checkpoint(ranks, **changes):
    """Moving averages and metrics that say their rank."""
    return {
        "data": [position(rank) for rank in range(ranks)],
        # moving mean and variance, the dropout's seed
        "statistics": [
            [torch.full((4,), 1.0 + r), torch.full((4,), 2.0), torch.tensor([11 + 7919 * r, 5])]
            for r in range(ranks)
        ],
        "metrics": [[torch.tensor(10.0 * r), torch.tensor(4.0)] for r in range(ranks)],
        "rank_parts": [{"average": {"statistics": [torch.full((4,), 3.0 * r)]}}
                       for r in range(ranks)],
        **changes,
    }  # fmt: skip


def shares(state, world_size, model, data=(), validation=()):
    generators = {"data": set(data), "validation": set(validation)}
    return [share_of(state, rank, world_size, model, generators) for rank in range(world_size)]


@pytest.mark.parametrize(("before", "now"), [(8, 4), (4, 1), (1, 4), (2, 3)])
def test_averages_are_means_and_metrics_keep_their_sums(before, now, model):
    state = checkpoint(before)
    found = shares(state, now, model)
    for share in found:
        assert torch.equal(share["statistics"][0], torch.full((4,), 1.0 + (before - 1) / 2))
        assert torch.equal(share["statistics"][1], torch.full((4,), 2.0))
        kept = share["parts"]["average"]["statistics"][0]
        assert torch.equal(kept, torch.full((4,), 3.0 * (before - 1) / 2))
    for number, total in enumerate((10.0 * sum(range(before)), 4.0 * before)):
        assert float(sum(one["metrics"][number] for one in found)) == pytest.approx(total)


def test_every_rank_has_random_numbers_of_its_own_and_those_it_had(model):
    state = checkpoint(2)
    found = shares(state, 4, model)
    seeds = [share["statistics"][2].tolist() for share in found]
    assert seeds == [[11 + 7919 * rank, 5] for rank in range(4)]
    streams = [share["data"]["now"]["random"]["torch"] for share in found]
    for rank in range(2):
        assert torch.equal(streams[rank], state["data"][rank]["now"]["random"]["torch"])
    drawn = set()
    before = random_state()
    for share in found:
        set_random_state(share["data"]["now"]["random"])
        drawn.add((float(torch.rand(())), float(np.random.rand())))
    set_random_state(before)
    assert len({numbers[0] for numbers in drawn}) == 4
    assert len({numbers[1] for numbers in drawn}) == 1  # NumPy's were alike on all ranks


def test_as_many_ranks_have_to_the_bit_what_they_had(model):
    state = checkpoint(3)
    for rank, share in enumerate(shares(state, 3, model)):
        assert share["statistics"] is state["statistics"][rank]
        assert share["metrics"] is state["metrics"][rank]
        assert share["data"] is state["data"][rank]


def counts(ranks, name="dataset/count"):
    found = [position(rank) for rank in range(ranks)]
    for rank, one in enumerate(found):
        one["now"] = {**one["now"], "data": {name: rank}}
    return found


def test_a_generator_in_the_data_goes_on(model):
    found = shares(checkpoint(2, data=counts(2, "dataset/own")), 3, model, data=["dataset/own"])
    assert [share["data"]["now"]["data"]["dataset/own"] for share in found] == [0, 1, 0]


@pytest.mark.parametrize("seen", [(3, 3), (3, 4)])
def test_attributes_that_ranks_have_alike_go_on_and_others_begin_anew(seen, model):
    parts = [{"attributes of Mine": {"kept": {"seen": ["plain", one, None]}}} for one in seen]
    generators = {"data": set(), "validation": set()}
    state = checkpoint(2, rank_parts=parts)
    for rank, world_size in ((0, 1), (1, 2), (2, 3)):
        share = share_of(state, rank, world_size, model, generators, {"attributes of Mine"})
        own = parts[rank] if world_size == 2 else parts[0] if seen[0] == seen[1] else {}
        assert share["parts"]["attributes of Mine"] == own.get("attributes of Mine", {})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"data": counts(2)}, r"state of the data \(dataset/count\)"),
        ({"data": [position(r, fetched=r) for r in range(2)]}, r"was fetched .* \(fetched\)"),
        ({"data": [position(r, digest=b"1") for r in range(2)]}, "can only be read on"),
        (
            {"rank_parts": [{"mine": {"seen": rank}} for rank in range(2)]},
            "The state of mine differs",
        ),
        (
            {"statistics": [[torch.ones(4), torch.tensor([r]), torch.zeros(2)] for r in (0, 1)]},
            "moving_variance of the model differs",
        ),
    ],
)
def test_what_no_rule_is_for_is_refused_by_name(changes, named, model):
    with pytest.raises(ValueError, match=named):
        shares(checkpoint(2, **changes), 1, model)


X, Y = np.random.default_rng(0).normal(size=(20, 2)).astype("float32"), np.zeros((20, 1), "float32")


def order_of(*data, before=None, **settings):
    def look(callback):
        found = keras_fit.epoch_iterator(callback.model)
        return DataOrder(found, before).name, keras_fit.data_of(found)[0]

    return fit(look, *data, **settings)


def test_arrays_on_one_process_keep_the_order_of_all_ranks():
    shared = "arrays, shuffled for all ranks together"
    assert order_of(X, Y) == ("arrays, shuffled by Keras", "arrays")
    assert order_of(X, Y, before=shared) == (shared, "loader")
    assert order_of(X, Y, shuffle=False) == ("arrays in their order", "arrays")


def test_a_sampler_on_one_process_is_told_its_epochs_if_the_ranks_were():
    rows = TensorDataset(torch.tensor(X), torch.tensor(Y))
    loader = DataLoader(rows, 4, sampler=DistributedSampler(rows, 1, 0))
    alone = "DataLoader with DistributedSampler"
    assert order_of(loader, shuffle=False)[0] == alone
    told = f"{alone}, told its epochs"
    assert order_of(loader, before=told, shuffle=False)[0] == told
    usual = order_of(DataLoader(rows, 4, shuffle=True), before=told, shuffle=False)[0]
    assert usual == "DataLoader with RandomSampler"
    check_order(told, told, 2, "folder")
    with pytest.raises(ValueError, match="is of 2 ranks, .* with DistributedSampler, told .* →"):
        check_order(told, usual, 2, "folder")
