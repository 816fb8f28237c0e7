"""Losses where their formulas have corners, and of targets that they do not take."""

from keras_dawn.native.steps.losses import NativeLoss

import pytest
from keras import losses

from tests.on_device import on_processor, torch

CORNERS = [
    (losses.KLDivergence, [0.2, 0.8, 0.0], [0.0, 1.0, 0.3]),
    (losses.Hinge, [1.0, -1.0, 1.0], [1.0, -1.0, 0.5]),
    (losses.SquaredHinge, [1.0, -1.0, 1.0], [1.0, -1.0, 0.5]),
    (losses.CategoricalHinge, [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]),
]


@pytest.mark.parametrize(("kind", "y", "outputs"), CORNERS)
def test_gradients_at_the_corners_are_plain_keras_s(kind, y, outputs):
    loss, gradients = kind(), []
    for function in (NativeLoss(loss, "float32"), loss):
        found = torch.tensor([outputs], dtype=torch.float32, requires_grad=True)
        value = function(torch.tensor([y], dtype=torch.float32), found)
        assert value is not None
        value.backward()
        gradients.append(found.grad)
    torch.testing.assert_close(*gradients)


@on_processor
@pytest.mark.parametrize("items", [16, 2**13])
@pytest.mark.parametrize("wrong", [-1.0, 2.0])
def test_targets_that_are_no_shares_are_the_error_that_they_are_in_keras(wrong, items):
    loss = losses.BinaryCrossentropy()
    targets = torch.full((items, 1), wrong)
    outputs = torch.full((items, 1), 0.5, requires_grad=True)
    for function in (loss, NativeLoss(loss, "float32")):
        with pytest.raises(RuntimeError, match="between 0 and 1"):
            function(targets, outputs)


def test_an_axis_that_there_is_not_is_the_error_that_it_is_in_keras():
    loss = losses.BinaryCrossentropy(axis=2)
    for function in (loss, NativeLoss(loss, "float32")):
        with pytest.raises(IndexError):
            function(torch.ones(3, 4), torch.full((3, 4), 0.5))
