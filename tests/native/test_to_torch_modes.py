"""`train()` and `eval()` of a module of `to_torch` change its code, not its parameters."""

import copy

import keras_dawn

import keras
import pytest
from keras import layers

from tests.on_device import torch


def small():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = layers.BatchNormalization(momentum=0.5)(layers.Conv2D(4, 3)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Dropout(0.5)(x))
    return keras.Model(inputs, layers.Dense(2)(x))


@pytest.mark.parametrize("begins", [False, True])
def test_a_module_trains_and_infers_as_it_is_told(begins):
    model, x = small(), torch.randn(8, 6, 6, 3)
    module = keras_dawn.to_torch(model, training=begins)
    assert module.training is begins
    parameters = dict(module.named_parameters())
    averages = model.get_layer(index=2).moving_mean
    before = averages.numpy()
    for _ in range(2):  # there and back
        assert module.eval() is module and not module.training
        torch.testing.assert_close(module(x), model(x), rtol=1e-5, atol=1e-6)
        assert (averages.numpy() == before).all()
        assert module.train() is module and module.training
        assert not torch.equal(module(x), module(x))  # Dropout draws
        assert (averages.numpy() != before).all()
        before = averages.numpy()
    assert dict(module.named_parameters()).keys() == parameters.keys()
    for name, parameter in module.named_parameters():
        assert parameter is parameters[name]


def test_a_loop_that_changes_modes_trains_the_keras_model():
    model, x, y = small(), torch.randn(8, 6, 6, 3), torch.randn(8, 2)
    module = keras_dawn.to_torch(model)
    optimizer = torch.optim.SGD(module.parameters(), 0.1)
    before = model.get_weights()
    module.train()
    torch.nn.functional.mse_loss(module(x), y).backward()
    optimizer.step()
    assert all((new != old).any() for new, old in zip(model.get_weights(), before, strict=True))
    torch.testing.assert_close(module.eval()(x), model(x), rtol=1e-5, atol=1e-6)


def test_a_part_of_another_module_follows_it():
    whole = torch.nn.Sequential(keras_dawn.to_torch(small()), torch.nn.Linear(2, 1))
    assert whole.train()[0].training and "dropout" in whole[0].code
    assert not whole.eval()[0].training and "dropout" not in whole[0].code


def test_a_copy_has_one_mode_and_says_so():
    copied = copy.deepcopy(keras_dawn.to_torch(small()))
    assert copied.eval() is copied
    with pytest.raises(RuntimeError, match="for inference alone.*training=True"):
        copied.train()


class Shift(layers.Layer):
    def call(self, x, training=False):
        if training:
            x = x + keras.ops.full((3,), 10.0)
        return x + keras.ops.convert_to_tensor([1.0, 2.0, 3.0])


def test_each_mode_has_its_own_constants():
    inputs = keras.Input((3,))
    module = keras_dawn.to_torch(keras.Model(inputs, Shift()(inputs)))
    x = torch.zeros(1, 3)
    for _ in range(2):
        assert module.train()(x).tolist() == [[11.0, 12.0, 13.0]]
        assert module.eval()(x).tolist() == [[1.0, 2.0, 3.0]]
