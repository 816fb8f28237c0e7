"""Norms against NumPy's in float64, where torch's own kernel on a CPU loses digits."""

from keras_dawn.foundation.norms import norms_of

import numpy as np
import pytest
import torch

MANY = 1_280_000
LARGE = torch.rand(MANY, generator=torch.Generator().manual_seed(0)) - 0.5


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize(
    "tensor",
    [
        LARGE,
        LARGE[:-5],  # a row that is not full
        LARGE.view(40, 80, 20, 20).to(memory_format=torch.channels_last),
        LARGE.view(1000, 1280).T,
        LARGE[::2],  # with gaps
        LARGE[:1000].expand(500, 1000),
        LARGE.double(),
        LARGE[:0],
        LARGE[0],
    ],
    ids=[
        "dense",
        "odd",
        "channels last",
        "transposed",
        "gaps",
        "expanded",
        "float64",
        "none",
        "scalar",
    ],
)
def test_a_norm_is_exact(tensor, order):
    found = norms_of([tensor, LARGE[:3]], order)
    values = np.abs(tensor.double().numpy()).ravel()
    expected = (values**order).sum() ** (1 / order)
    assert found[0].shape == () and found[0].dtype is tensor.dtype
    assert float(found[0]) == pytest.approx(expected, rel=5e-6)
    assert float(found[1]) == pytest.approx(float(LARGE[:3].norm(order)), rel=1e-6)


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(number):
    tensor = LARGE.clone()
    tensor[70_000] = number
    np.testing.assert_equal(float(norms_of([tensor])[0]), number)


def test_half_precision_keeps_its_dtype():
    (found,) = norms_of([LARGE.bfloat16()])
    assert found.dtype is torch.bfloat16
