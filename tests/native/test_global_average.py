"""The average over an image's pixels, whose gradient lies in memory as the images do."""

from keras_dawn.native.global_average import LEAST, average_of_images

import pytest

from tests.on_device import torch


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("innermost", [False, True])
@pytest.mark.parametrize("shape", [(2, 16, 16, 16), (2, 3, 4, 4), (2, 64, 256), (2, 8, 8, 8, 8)])
def test_it_is_torch_s_mean_with_a_gradient_in_the_images_order(shape, innermost, keepdims):
    torch.manual_seed(0)
    images = torch.randn(shape)
    if innermost:
        images = images.movedim(1, -1).contiguous().movedim(-1, 1)
    images.requires_grad_()
    axes = tuple(range(2, len(shape)))
    found, expected = average_of_images(images, axes, keepdims), images.mean(axes, keepdims)
    assert torch.equal(found, expected)
    gradient, relu = torch.randn_like(expected), torch.relu(images)
    taken = torch.autograd.grad(average_of_images(relu, axes, keepdims), relu, gradient)[0]
    assert torch.equal(taken, torch.autograd.grad(relu.mean(axes, keepdims), relu, gradient)[0])
    if images.numel() >= LEAST:
        assert taken.stride() == images.stride()
