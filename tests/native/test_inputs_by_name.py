"""Layers that get their inputs by name, which Keras has in the order of the names."""

import pytest
from keras import layers, ops

from tests.native.own_calls import Own, called, follows

pytestmark = [
    pytest.mark.usefixtures("true_float64"),
    # Of layers that a `call` leaves out; plain Keras warns as ours does.
    pytest.mark.filterwarnings("ignore:Gradients do not exist"),
]


class WithContext(Own):
    def call(self, x, context):
        return self.dense(x) + ops.mean(context, 1, keepdims=True)


class ByNames(Own):
    """Its parts' first arguments come after others in the alphabet."""

    def __init__(self):
        super().__init__()
        self.masked = layers.GRU(8, return_sequences=True)
        self.started = layers.GRU(8, return_sequences=True)
        self.both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
        self.part = WithContext()

    def build(self, shape):
        Own.build(self, shape)
        self.part.build(shape)

    def call(self, x):
        mask = x[..., 0] > 0
        y = self.masked(sequences=x, mask=mask) + self.both(sequences=x, mask=mask)
        y = y + self.started(sequences=x, initial_state=x[:, 0])
        return y + self.part(x=x, context=x[:, :, :1])


@pytest.mark.parametrize("subclassed", [False, True])
def test_inputs_by_name_are_those_that_the_layer_means(subclassed):
    model = follows(ByNames, subclassed)
    assert not called(model)
