"""Words that only recurrent layers read are looked up time first, with the numbers of Keras."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.recurrent_models import assert_as_keras
from tests.native.trained import assert_trains_alike
from tests.on_device import torch

# Texts with words missing at the end, in front and in between, and one of nothing else.
WORDS = np.array([[3, 1, 4, 1, 0], [0, 0, 5, 9, 2], [6, 0, 5, 0, 3], [0, 0, 0, 0, 0]], "int32")

RECURRENT = {
    "LSTM": lambda: layers.LSTM(3),
    "GRU, sequences": lambda: layers.GRU(3, return_sequences=True),
    "SimpleRNN from the end": lambda: layers.SimpleRNN(3, go_backwards=True),
    "Bidirectional": lambda: layers.Bidirectional(layers.LSTM(3)),
    "states": lambda: layers.LSTM(3, return_sequences=True, return_state=True),
    "step by step": lambda: layers.GRU(3, reset_after=False, dropout=0.3, recurrent_dropout=0.2),
}


def texts(layer, mask_zero):
    words = keras.Input((5,), dtype="int32")
    return keras.Model(words, layer(layers.Embedding(10, 4, mask_zero=mask_zero)(words)))


@pytest.mark.parametrize("mask_zero", [False, True])
@pytest.mark.parametrize("name", RECURRENT)
def test_texts(name, mask_zero, true_float64):
    model = texts(RECURRENT[name](), mask_zero)
    assert _turns(model) == 1
    assert_as_keras(model, torch.as_tensor(WORDS))


@pytest.mark.parametrize("mask_zero", [False, True])
def test_training(mask_zero, true_float64):
    def build():
        model = texts(layers.LSTM(3), mask_zero)
        model.compile(keras.optimizers.SGD(0.25), "mse")
        return model

    assert_trains_alike(build, WORDS, np.random.default_rng(1).normal(size=(4, 3)), 1e-9)


def test_vectors_that_others_read_stay_in_order():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 4)(words)
    model = keras.Model(words, [layers.LSTM(3)(x), layers.GlobalAveragePooling1D()(x)])
    assert _turns(model) == 0


def test_two_readers_share_what_is_turned():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 4)(words)
    model = keras.Model(words, layers.Add()([layers.LSTM(3)(x), layers.GRU(3)(x)]))
    assert _turns(model) == 1
    numbers = torch.as_tensor(WORDS)
    torch.testing.assert_close(keras_dawn.to_torch(model)(numbers), model(numbers))


def test_in_half_precision_too():
    words = keras.Input((5,), dtype="int32")
    x = layers.Embedding(10, 4, dtype="mixed_bfloat16")(words)
    model = keras.Model(words, layers.LSTM(3, dtype="mixed_bfloat16")(x))
    assert _turns(model) == 1
    numbers = torch.as_tensor(WORDS)
    found = keras_dawn.to_torch(model)(numbers)
    torch.testing.assert_close(found, model(numbers), atol=0.01, rtol=0.01)


class Table(layers.Layer):
    """An embedding of one's own."""

    def build(self, shape):
        self.table = self.add_weight(shape=(10, 4), initializer="uniform")

    def call(self, words):
        return keras.ops.take(self.table, words, axis=0)


def test_rows_of_a_table_of_ones_own(true_float64):
    words = keras.Input((5,), dtype="int32")
    model = keras.Model(words, layers.LSTM(3)(Table()(words)))
    assert _turns(model) == 1
    assert_as_keras(model, torch.as_tensor(WORDS))


def _turns(model):
    """How many arrays of numbers are turned."""
    return keras_dawn.to_torch(model).code.count("= x.transpose(0, 1)")
