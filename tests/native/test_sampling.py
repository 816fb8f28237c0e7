"""Turned, zoomed, moved and sheared images by torch's sampling, against Keras's transformation."""

from keras_dawn.native.lowering import moves, warps
from keras_dawn.native.lowering.sampling import can_be_sampled

import keras
import pytest

from tests.on_device import torch

MOVES = {
    "turn": lambda random: moves.Turn(300 * random(6) - 150),
    "zoom": lambda random: moves.Zoom(3 * random(6, 2)),
    "shift": lambda random: moves.Shift(60 * random(6, 2) - 30),
    "shear": lambda random: moves.Shear(4 * random(6, 2) - 2),
}


def by_keras(images, move, fill):
    matrices = move.matrices(*images.shape[1:3])
    matrices = torch.cat([matrices, torch.zeros_like(matrices[:, :2])], 1)
    return keras.ops.image.affine_transform(
        images, matrices, "bilinear", fill, 0.0, data_format="channels_last"
    )


@pytest.mark.parametrize("size", [(16, 16), (7, 19), (2, 5)])
@pytest.mark.parametrize("fill", ["constant", "nearest", "mirror", "reflect"])
@pytest.mark.parametrize("name", MOVES)
def test_sampled_images_are_those_of_keras(name, fill, size):
    torch.manual_seed(0)
    images, move = torch.rand(6, *size, 3), MOVES[name](torch.rand)
    assert can_be_sampled(images, "bilinear", fill, 0.0)
    found = warps.warp(images, move, torch.float32, "bilinear", fill, 0.0)
    assert found.is_contiguous()  # as Keras's: what is drawn next falls on elements in that order
    torch.testing.assert_close(found, by_keras(images, move, fill), rtol=0, atol=5e-5)


def test_what_torch_does_otherwise_is_not_sampled():
    images = torch.rand(1, 4, 4, 1)
    assert not can_be_sampled(images, "nearest", "reflect", 0.0)
    assert not can_be_sampled(images, "bilinear", "wrap", 0.0)
    assert not can_be_sampled(images, "bilinear", "constant", 0.5)
    assert not can_be_sampled(images[:, :1], "bilinear", "mirror", 0.0)
    assert not can_be_sampled(images.requires_grad_(), "bilinear", "reflect", 0.0)
