"""Running means of an own `train_step`, against `keras.metrics.Mean`."""

from types import SimpleNamespace

from keras_dawn.foundation import keras_masks
from keras_dawn.native.steps.own_metrics import NativeMeans

import keras
import numpy as np
import pytest

from tests.on_device import torch

VALUES = [
    (torch.tensor(1.5), None),
    (torch.tensor(2.5, requires_grad=True), 3),
    (torch.tensor(-0.25), 0.5),
    (torch.tensor([1.0, 2.0, 6.0]), None),
    (torch.tensor([[1.0, 2.0], [3.0, 5.0]]), np.array([1.0, 3.0])),
    (torch.tensor(7), None),
    (torch.tensor(1.0, dtype=torch.float64), torch.tensor(2.0)),
    (torch.tensor(0.7, dtype=torch.bfloat16), 0.3),
    (torch.tensor(0.1, dtype=torch.float16, requires_grad=True), None),
    (torch.tensor(0.1, dtype=torch.float64), 0.1),
    (torch.tensor(True), 2),
    (4.0, None),
    (np.float32(2.0), 2),
    (torch.tensor(float("nan")), 1),
]


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
@pytest.mark.parametrize("count", range(len(VALUES) + 1))
def test_means_are_kerass(count, dtype):
    plain, metric = (keras.metrics.Mean(dtype=dtype) for _ in range(2))
    means = NativeMeans(SimpleNamespace(metrics=[metric]))
    assert metric.result() == 0
    for value, weight in VALUES[:count]:
        plain.update_state(value, sample_weight=weight)
        with means.in_place():
            metric.update_state(value, sample_weight=weight)
            found = metric.result()
        np.testing.assert_array_equal(found.cpu().numpy(), plain.result().cpu().numpy())
        assert found.dtype == plain.result().dtype and not found.requires_grad
    for one, other in zip(metric.variables, plain.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    assert "result" not in vars(metric) and "update_state" not in vars(metric)


def test_a_masked_loss_and_a_metric_of_ones_own_are_kerass():
    class Own(keras.metrics.Mean):
        def update_state(self, values, sample_weight=None):
            super().update_state(values * 2, sample_weight)

    own, masked, plain = Own(), keras.metrics.Mean(), keras.metrics.Mean()
    value = torch.tensor(3.0)
    keras_masks.attach_mask(value, torch.tensor(False))
    plain.update_state(value, sample_weight=1)
    with NativeMeans(SimpleNamespace(metrics=[own, masked])).in_place():
        own(torch.tensor(3.0))
        masked.update_state(value, sample_weight=1)
    assert own.result() == 6
    assert masked.result() == plain.result()
