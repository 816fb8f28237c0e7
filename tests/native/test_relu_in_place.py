"""A ReLU overwrites what only it reads, behind views too; the numbers are plain Keras's."""

import keras_dawn
from keras_dawn.native import accelerate

import keras
import pytest
import torch
from keras import layers


def convolution():
    return [layers.Conv1D(4, 3, padding="same", activation="relu")]


def normalized():
    return [layers.Conv1D(4, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()]


@pytest.mark.parametrize("before", [convolution, normalized])
def test_a_series_is_overwritten_before_another_view_of_it_is_taken(before):
    torch.manual_seed(0)
    model = keras.Sequential([keras.Input((8, 3)), *before(), layers.Conv1D(2, 3)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    code = keras_dawn.to_torch(model, training=True).code
    assert "relu = True" in code or code.index("torch.relu_(") < code.index(".view_as(")
    assert "torch.relu(" not in code
    same = keras.models.clone_model(model)
    same.set_weights(model.get_weights())
    same.compile(keras.optimizers.SGD(0.1), "mse")
    accelerate(model)
    x, y = torch.randn(16, 8, 3), torch.randn(16, 6, 2)
    for each in (model, same):
        each.fit(x, y, batch_size=16, epochs=4, verbose=0, shuffle=False)
    for found, expected in zip(model.get_weights(), same.get_weights(), strict=True):
        assert found == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_what_others_read_is_not_overwritten():
    inputs = keras.Input((8, 3))
    x = layers.Conv1D(4, 3)(inputs)
    normalized = layers.BatchNormalization()(x)
    model = keras.Model(inputs, [layers.ReLU()(x), x, layers.ReLU()(normalized), normalized])
    series = torch.randn(5, 8, 3)
    for found, expected in zip(keras_dawn.to_torch(model)(series), model(series), strict=True):
        torch.testing.assert_close(found, expected)
    assert (expected < 0).any()
