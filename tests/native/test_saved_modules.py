"""Lowered modules are saved, loaded and copied whole."""

import copy
import io
import pickle

from keras_dawn.native import to_torch

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch


class Halve(layers.Layer):
    def build(self, shape):
        self.factor = self.add_weight(shape=(), initializer="ones", name="factor")

    def call(self, x, training=False):
        return x * self.factor / (2 if training else 3)


def everything():
    x = keras.Input((9, 8, 3))
    y = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    y = layers.BatchNormalization()(y)
    y = layers.PReLU()(layers.MaxPooling2D(2, padding="same")(y))
    y = Halve()(layers.Cropping2D(((0, 1), (0, 0)))(y))
    y = ops.take(y * np.ones(4, "float32"), np.array([0, 2, 3]), axis=-1)[:, 0:]
    y = layers.Dropout(0.3, noise_shape=(None, 1, 1, None))(y)
    y = layers.Dense(3, activation=layers.UnitNormalization())(y)
    return keras.Model(x, layers.Dense(2, activation="squareplus")(layers.Flatten()(y)))


def masked():
    x = keras.Input((5,), dtype="int32")
    y = layers.Embedding(7, 4, mask_zero=True)(x)
    return keras.Model(x, layers.LSTM(3)(layers.Dense(3)(y)))


def by_torch_save(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


def by_pickle(module):
    return pickle.loads(pickle.dumps(module))


@pytest.mark.parametrize("again", [by_torch_save, by_pickle, copy.deepcopy])
@pytest.mark.parametrize("make", [everything, masked])
def test_a_copy_computes_the_same_with_weights_of_its_own(make, again):
    model = make()
    module = to_torch(model)
    if make is masked:
        x = torch.randint(0, 3, (4, 5), dtype=torch.int32)
    else:
        x = torch.randn(4, 9, 8, 3)
    expected = module(x)
    other = again(module)
    assert other.code == module.code
    assert torch.equal(other(x), expected)
    names = dict(module.named_parameters()).keys()
    assert dict(other.named_parameters()).keys() == names
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.is_floating_point():
                parameter.add_(0.1)
    assert torch.equal(module(x), expected)
    assert not torch.equal(other(x), expected)
    for one, two in zip(other.parameters(), module.parameters(), strict=True):
        assert one.requires_grad == two.requires_grad
    other(x).sum().backward()
    trained = [p for p in other.parameters() if p.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)


def test_a_copy_keeps_the_mode_of_layers_called_as_they_are():
    model = keras.Sequential([keras.Input((4,)), Halve()])
    x = torch.ones(1, 4)
    for training, expected in ((True, 0.5), (False, 1 / 3)):
        copied = copy.deepcopy(to_torch(model, training=training))
        torch.testing.assert_close(copied(x), torch.full((1, 4), expected))
