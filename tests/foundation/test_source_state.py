"""What data keeps in itself is found, told and put back, in the same process and in another."""

import random

from keras_dawn.foundation.source_state import SourceState

import numpy as np
import pytest
import torch


class Source:
    """A data set with one attribute of every kind."""

    def __init__(self):
        self.numpy, self.torch = np.random.default_rng(1), torch.Generator().manual_seed(2)
        self.old, self.python = np.random.RandomState(3), random.Random(4)
        self.count, self.name, self.nothing = 0, "a", None
        self.array, self.tensor = np.arange(9), torch.arange(9.0)
        self.numbers, self.pairs = list(range(9)), [("a", 1), ("b", 2), ("c", 3)]
        self.rows = [torch.full((2,), float(n)) for n in range(4)]
        self.inner = type("Inner", (), {})()
        self.inner.count, self.table = 7, {"rate": 0.5}

    def move(self):
        for own in (self.array, self.numbers, self.pairs, self.rows):
            self.python.shuffle(own)
        self.tensor += float(torch.rand((), generator=self.torch)) + self.numpy.normal()
        self.count += 1
        self.name, self.nothing = self.name + "b", self.old.randint(9)
        self.inner.count -= 1
        self.table["rate"] *= 0.5

    def all(self):
        return [
            self.count, self.name, self.nothing, self.array.tolist(), self.tensor.tolist(),
            list(self.numbers), list(self.pairs), [row.tolist() for row in self.rows],
            self.inner.count, self.table["rate"],
        ]  # fmt: skip


@pytest.mark.parametrize(("moves", "other"), [(0, True), (1, True), (1, False), (3, True)])
def test_it_goes_on_as_it_would_have(moves, other, tmp_path):
    source = Source()
    state = SourceState(source)
    for _ in range(moves):
        source.move()
    torch.save(state.now(), tmp_path / "state")
    then = source.all()
    source.move()
    after = source.all()
    if other:
        source = Source()
        state = SourceState(source)
    array, numbers = source.array, source.numbers
    state.put_back(torch.load(tmp_path / "state", weights_only=True))
    assert source.all() == then
    assert source.array is array and source.numbers is numbers
    source.move()
    assert source.all() == after


def test_what_was_at_first_comes_back_after_what_came_later():
    source = Source()
    state, first = SourceState(source), source.all()
    at_first = state.now()
    source.move()
    later, moved = state.now(), source.all()
    source = Source()
    state = SourceState(source)
    state.put_back(later)
    state.put_back(at_first)
    assert source.all() == first
    state.put_back(later)
    assert source.all() == moved


def test_live_iterators_are_noticed():
    source = Source()
    assert not SourceState(source).reads_on
    source.inner.lines = iter([1, 2])
    assert SourceState(source).reads_on
    source.inner.lines = (n for n in [1, 2])
    assert SourceState(source).reads_on
    assert not SourceState(None).reads_on and SourceState(None).now() == {}


def test_what_has_a_state_of_its_own_is_asked_for_it():
    class Own:
        def __init__(self):
            self.place = 0

        def state_dict(self):
            return {"at": self.place}

        def load_state_dict(self, state):
            self.place = state["at"]

    source = Source()
    source.own = Own()
    source.own.place = 5
    now = SourceState(source).now()
    assert now["own"] == {"at": 5} and "own/place" not in now
    source.own.place = 9
    SourceState(source).put_back(now)
    assert source.own.place == 5
