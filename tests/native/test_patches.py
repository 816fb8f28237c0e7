"""Patches of images, cut by a layer of one's own."""

import keras_dawn

import keras
import pytest
from keras import layers, ops

from tests.on_device import torch


class Patches(layers.Layer):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, images):
        height, width = ops.shape(images)[1:3]
        patches = ops.image.extract_patches(images, size=self.size)
        count = (height // self.size) * (width // self.size)
        return ops.reshape(patches, (ops.shape(images)[0], count, self.size * self.size * 3))


@pytest.mark.parametrize("size", [2, 3])
def test_patches_beside_each_other_are_a_permutation(size):
    inputs = keras.Input((7, 8, 3))
    model = keras.Model(inputs, Patches(size)(inputs))
    module, x = keras_dawn.to_torch(model), torch.rand(2, 7, 8, 3)
    torch.testing.assert_close(module(x), model(x), rtol=0, atol=0)
    assert "patches_beside" in module.code


def test_settings_of_patches_that_a_permutation_is_not():
    inputs = keras.Input((7, 8, 3))
    x = torch.rand(2, 7, 8, 3)
    for settings in ({"strides": 1}, {"padding": "same"}, {"strides": 1, "dilation_rate": 2}):
        outputs = ops.image.extract_patches(inputs, 2, **settings)
        model = keras.Model(inputs, outputs)
        module = keras_dawn.to_torch(model)
        torch.testing.assert_close(module(x), model(x))
