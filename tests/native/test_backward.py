"""The backward pass of a step against `loss.backward()`."""

from keras_dawn.native.steps.backward import backward

import pytest

from tests.on_device import torch


def weights():
    return torch.arange(1.0, 4.0).requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_gradients_are_added_to_those_that_are_there(dtype):
    ours, torchs = weights(), weights()
    for _ in range(2):
        backward(ours.to(dtype).square().sum())
        torchs.to(dtype).square().sum().backward()
        assert torch.equal(ours.grad, torchs.grad)


def test_a_hook_that_writes_to_the_first_gradient_changes_no_later_pass():
    for _ in range(2):
        w = weights()
        loss = w.sum()
        loss.register_hook(lambda gradient: gradient.mul_(3))
        backward(loss)
        assert w.grad.tolist() == [3.0, 3.0, 3.0]
    w = weights()
    backward(w.sum())
    assert w.grad.tolist() == [1.0, 1.0, 1.0]


def test_torch_says_what_is_wrong_with_a_loss():
    with pytest.raises(RuntimeError, match="scalar outputs"):
        backward(weights() * 2)
    with pytest.raises(RuntimeError, match="does not require grad"):
        backward(torch.tensor(1.0))
