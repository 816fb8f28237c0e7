"""DAWNBench (Stanford, 2017–2020): entry files, validator, leaderboards, prices."""

from keras_dawn.dawnbench.boards import (
    BOARDS,
    CIFAR10_BOARD,
    IMAGENET_BOARD,
    rank_by_cost,
    rank_by_time,
)
from keras_dawn.dawnbench.entry import CIFAR10, IMAGENET, Benchmark, Entry, write_entry
from keras_dawn.dawnbench.prices import HISTORICAL_PRICES, Price
from keras_dawn.dawnbench.spot import SpotCost, expected_spot_cost
from keras_dawn.dawnbench.validation import validate_entry

__all__ = [
    "BOARDS",
    "CIFAR10",
    "CIFAR10_BOARD",
    "HISTORICAL_PRICES",
    "IMAGENET",
    "IMAGENET_BOARD",
    "Benchmark",
    "Entry",
    "Price",
    "SpotCost",
    "expected_spot_cost",
    "rank_by_cost",
    "rank_by_time",
    "validate_entry",
    "write_entry",
]
