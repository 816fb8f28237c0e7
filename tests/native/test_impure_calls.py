"""Layers of one's own whose Python may do more than combine layers: it is called every time."""

import random
import sys

import keras_dawn

import numpy as np
import pytest
from keras import layers, ops

from tests.native.own_calls import build, close, follows, train
from tests.on_device import torch

FACTORS = [1.0, 2.0]


def impure(function, variables=()):
    """A layer class around a `call` that is more than layers and operations."""

    class Impure(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(8)
            self.drop = layers.Dropout(0.5)
            self.calls = 0
            self.kept = []
            self.table = np.ones(8)
            self.factor = torch.tensor(3.0, dtype=torch.float64)

        call = function

        @property
        def next_number(self):
            self.calls += 1
            return float(self.calls)

    return Impure


def counts(self, x):
    self.calls += 1
    return self.dense(x) * (1.0 + self.calls)


def draws(self, x):
    return self.dense(x) * random.random()


def reads_a_list_of_numbers(self, x):
    FACTORS[0] += 1.0
    return self.dense(x) * FACTORS[0]


def keeps(self, x):
    self.kept.append(1)
    return self.dense(x) * float(len(self.kept))


def keeps_by_another_name(self, x):
    kept = self.kept
    kept.append(1)
    return self.dense(x) * float(len(kept))


def adds_a_loss_of_its_own(self, x):
    self.add_loss(self.calls * 1.0 + ops.sum(ops.square(x)) * 1e-3)
    self.calls += 1
    return self.dense(x)


def reads_weights(self, x):
    return self.dense(x) + ops.sum(self.dense.kernel)


def reads_weights_of_a_local(self, x):
    dense = self.dense
    return dense(x) + ops.sum(dense.kernel)


def in_place(self, x):
    x += 1.0
    return self.dense(x)


def wrapped(self, x):
    try:
        return self.dense(x)
    except ValueError:
        return x


def in_a_mode(self, x):
    return self.drop(self.dense(x), training=False)


def unused(self, x):
    self.drop(x)
    return self.dense(x)


def past_the_call(self, x):
    return self.dense.call(x) if self.dense.built else self.dense(x)


def array(self, x):
    self.table[0] += 1.0
    return ops.multiply(self.dense(x), self.table)


def dtype_of_torch(self, x):
    return self.dense(x) * (2.0 if x.dtype == torch.float64 else 1.0)


def closed_over():
    state = {"calls": 0}

    def call(self, x):
        state["calls"] += 1
        return self.dense(x) * float(state["calls"])

    return call


def sets_a_name_around_it():
    calls = 0

    def call(self, x):
        nonlocal calls
        calls += 1
        return self.dense(x) * calls

    return call


def a_new_layer(self, x):
    return layers.Add()([self.dense(x), x])


def of_torch(self, x):
    return torch.clamp_min(self.dense(x), 0.0)


def imports(self, x):
    import math

    return self.dense(x) * math.pi


def counts_in_an_expression(self, x):
    return sum(y for y in (self.dense(x), x)) / sum(self.next_number for _ in (1, 2))


def by_a_property(self, x):
    return self.dense(x) * self.next_number


IMPURE = [
    counts, draws, reads_a_list_of_numbers, keeps, keeps_by_another_name, adds_a_loss_of_its_own,
    reads_weights, reads_weights_of_a_local, in_place, wrapped,
    in_a_mode, unused, past_the_call, array, dtype_of_torch, closed_over(), sets_a_name_around_it(),
    a_new_layer,
    of_torch, imports, by_a_property, counts_in_an_expression,
]  # fmt: skip


@pytest.mark.parametrize("function", IMPURE, ids=lambda function: function.__qualname__)
@pytest.mark.parametrize("subclassed", [False, True], ids=["graph", "subclassed"])
def test_python_that_may_do_more_is_called_every_time(
    function, subclassed, true_float64, monkeypatch
):
    def run(accelerated):
        monkeypatch.setattr(sys.modules[__name__], "FACTORS", [1.0, 2.0])
        calls = function
        for make in (closed_over, sets_a_name_around_it):
            if function.__qualname__.startswith(make.__name__):
                calls = make()
        model = build(impure(calls), subclassed)
        if accelerated:
            keras_dawn.accelerate(model)
        return train(model), model

    (expected, _), (found, model) = run(False), run(True)
    close(found, expected)
    if function is not in_a_mode:  # in evaluation that is the mode anyway
        assert "Impure" not in keras_dawn.explain(model).layers


def test_a_layer_from_outside_is_left_alone(true_float64):
    shared = layers.Dense(8)

    def call(self, x):
        return self.dense(x) + shared(x)

    model = follows(impure(call))
    assert "Impure" not in keras_dawn.explain(model).layers
