"""Losses and metrics where their formulas have corners, and of targets that they do not take."""

import keras_dawn
from keras_dawn.native.steps.losses import NativeLoss
from keras_dawn.native.steps.metric_counter import MetricCounter

import keras
import pytest
from keras import layers, losses, metrics

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


@pytest.mark.parametrize("values", [[[0, 1, 0], [1, 0, 0]], [[0, 0, 0], [1, 1, 0]]])
def test_overlaps_of_bool_classes_are_counted(values):
    x, y = torch.eye(2, 3), torch.tensor(values, dtype=torch.bool)
    found = []
    for native in (True, False):
        model = keras.Sequential([keras.Input((3,)), layers.Dense(3, kernel_initializer="ones")])
        model.compile("sgd", "mse", metrics=[metrics.OneHotMeanIoU(3)])
        if native:
            keras_dawn.accelerate(model)
        found.append(model.evaluate(x, y, verbose=0))
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_outputs_in_half_precision_are_counted_as_plain_keras_rounds_them(dtype):
    y, outputs = torch.tensor([[1.5, 300.0]]), torch.tensor([[0.3, 55.5]])
    states = []
    for native in (True, False):
        metric = metrics.MeanSquaredLogarithmicError()
        add = MetricCounter(metric).add if native else metric.update_state
        add(y, outputs.to(getattr(torch, dtype)))
        states.append(metric.total.value)
    torch.testing.assert_close(*states, rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_metric_that_rounds_its_numbers_is_left_to_keras(dtype):
    y, outputs = torch.tensor([[1.23456], [2.34567]]), torch.tensor([[1.0], [2.0]])
    metric = metrics.R2Score(dtype=dtype)
    metric.update_state(y, outputs)
    before = metric.sum.value.clone()
    assert not MetricCounter(metric).add(y, outputs)
    torch.testing.assert_close(metric.sum.value, before)
