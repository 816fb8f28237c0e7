from datetime import date

from keras_dawn.dawnbench import (
    CIFAR10_BOARD,
    HISTORICAL_PRICES,
    IMAGENET,
    IMAGENET_BOARD,
    Price,
    rank_by_cost,
    rank_by_time,
)

import pytest


def test_costs_are_time_times_price():
    fastai = next(e for e in CIFAR10_BOARD if e.hardware == "1 × V100" and "fast" in e.author)
    assert fastai.cost == pytest.approx(0.2582, abs=1e-4)  # "CIFAR10 for $0.26"
    eight = next(e for e in CIFAR10_BOARD if e.hardware == "8 × V100" and "fast" in e.author)
    assert eight.cost == pytest.approx(1.1829, abs=1e-4)
    imagenet = next(e for e in IMAGENET_BOARD if e.seconds == 10647)
    assert imagenet.cost == pytest.approx(72.40, abs=0.01)


def test_boards_are_ordered_by_time():
    for board in (CIFAR10_BOARD, IMAGENET_BOARD):
        assert [e.seconds for e in board] == sorted(e.seconds for e in board)


def test_rank_by_time_names_the_neighbours():
    rank = rank_by_time(400.0)
    assert (rank.place, rank.of) == (12, 15)
    assert rank.ahead.author == "bkj" and rank.behind.author == "fast.ai + students"
    assert rank_by_time(1.0).ahead is None
    assert rank_by_time(1e6).behind is None
    assert rank_by_time(100.0, IMAGENET).place == 1


def test_rank_by_cost_counts_only_priced_entries():
    priced = sum(entry.price_per_hour is not None for entry in CIFAR10_BOARD)
    assert rank_by_cost(0.001).of == priced + 1
    assert rank_by_cost(0.26).ahead.cost == pytest.approx(0.2582, abs=1e-4)


def test_prices_have_source_and_date():
    for price in HISTORICAL_PRICES:
        assert price.source and price.date.year == 2018 and price.machine
    spot = next(price for price in HISTORICAL_PRICES if price.kind == "spot")
    assert spot.cost(2.9575 * 3600) == pytest.approx(25.0, abs=0.01)


@pytest.mark.parametrize(
    "arguments",
    [(-1.0, "spot", "page"), (1.0, "reserved", "page"), (1.0, "spot", "")],
)
def test_bad_prices_are_refused(arguments):
    with pytest.raises(ValueError, match="price"):
        Price(*arguments, date(2026, 1, 1))
