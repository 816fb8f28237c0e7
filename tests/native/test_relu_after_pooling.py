"""A ReLU is computed of what a maximum leaves: the numbers are those of the model as written."""

import keras_dawn

import keras
import pytest
import torch
import torch.nn.functional as F
from keras import layers

POOLING = {
    "images": ((6, 6, 2), [layers.MaxPooling2D(2)], lambda x: F.max_pool2d(x, 2)),
    "overlapping": ((7, 7, 2), [layers.MaxPooling2D(3, 2)], lambda x: F.max_pool2d(x, 3, 2)),
    "padding": (
        (6, 6, 2), [layers.ZeroPadding2D(1), layers.MaxPooling2D(3, 2)],
        lambda x: F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2),
    ),
    "volumes": ((4, 4, 4, 2), [layers.MaxPooling3D(2)], lambda x: F.max_pool3d(x, 2)),
    "series": ((6, 2), [layers.MaxPooling1D(2)], lambda x: F.max_pool1d(x, 2)),
    "whole images": ((6, 6, 2), [layers.GlobalMaxPooling2D()], lambda x: x.amax((2, 3))),
}  # fmt: skip
CONVOLUTIONS = {2: layers.Conv1D, 3: layers.Conv2D, 4: layers.Conv3D}


@pytest.mark.parametrize("name", POOLING)
def test_results_and_gradients_are_those_of_the_relu_before_the_pooling(name):
    shape, pooling, pool = POOLING[name]
    same = CONVOLUTIONS[len(shape)](2, 1, activation="relu")
    model = keras.Sequential([keras.Input(shape), same, *pooling])
    same.kernel.assign(torch.eye(2).reshape(same.kernel.shape))
    module = keras_dawn.to_torch(model)
    code = module.code
    maximum = "torch.amax" if "whole" in name else "torch.max_pool"
    assert code.index(maximum) < code.index("torch.relu")
    # Few different numbers: many windows have several highest, or nothing above zero.
    x = torch.randint(-3, 2, (8, *shape)).float()
    x[0, 0] = torch.nan
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    expected = pool(F.relu(theirs.movedim(-1, 1)))
    found = module(ours)
    found = found.movedim(-1, 1) if found.ndim > 2 else found
    assert torch.equal(found.nan_to_num(7), expected.nan_to_num(7))
    weights = torch.randn_like(expected)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert torch.equal(ours.grad[1:], theirs.grad[1:])


def test_a_relu_that_others_read_stays_where_it_is():
    inputs = keras.Input((6, 6, 2))
    x = layers.ReLU(name="shared")(inputs)
    model = keras.Model(inputs, [layers.MaxPooling2D(2)(x), x])
    images = torch.randn(3, 6, 6, 2)
    for found, expected in zip(keras_dawn.to_torch(model)(images), model(images), strict=True):
        assert torch.equal(found, expected)
