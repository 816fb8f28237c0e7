"""Transposed convolutions whose bias is added afterwards compute what torch's compute."""

from keras_dawn.native import transposed_convolutions

import pytest

from tests.on_device import torch


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride, padding, extra", [(1, 0, 0), (2, 0, 0), (2, 1, 1), (3, 1, 0)])
def test_it_computes_what_torch_computes(axes, bias, stride, padding, extra):
    torch.manual_seed(0)
    make = {"dtype": torch.float64, "requires_grad": True}
    operands = [torch.randn(2, 4, *[5] * axes, **make), torch.randn(4, 3, *[3] * axes, **make)]
    operands.append(torch.randn(3, **make) if bias else None)
    settings = [(stride,) * axes, (padding,) * axes, (extra,) * axes, 1, (1,) * axes]
    name = f"conv_transpose{axes}d"
    expected = getattr(torch, name)(*operands, *settings)
    found = getattr(transposed_convolutions, name)(*operands, *settings)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    weights = [x for x in operands if x is not None]
    gradient = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, weights, gradient),
        torch.autograd.grad(expected, weights, gradient),
        rtol=1e-12,
        atol=1e-12,
    )
