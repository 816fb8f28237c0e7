"""Weights whose gradients torch hands out in one memory."""

import keras_dawn
from keras_dawn.native.steps.shared_gradients import take_apart

import keras
import pytest
from keras import ops

from tests.native.own_calls import Own, build, close, train
from tests.on_device import torch

pytestmark = [
    pytest.mark.usefixtures("true_float64"),
    # Of a layer that the `call` leaves out; plain Keras warns as ours does.
    pytest.mark.filterwarnings("ignore:Gradients do not exist"),
]


class Stacked(Own):
    def build(self, shape):
        Own.build(self, shape)
        settings = {"shape": (shape[-1],), "initializer": "uniform", "regularizer": "l2"}
        self.first, self.second, self.third = (self.add_weight(**settings) for _ in range(3))

    def call(self, x):
        return self.dense(x) + ops.sum(ops.stack([self.first, self.second, self.third]), 0)


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.optimizers.SGD(0.05),
        lambda: keras.optimizers.SGD(0.05, momentum=0.9),
        lambda: keras.optimizers.SGD(0.05, clipnorm=0.01),
        lambda: keras.optimizers.SGD(0.05, gradient_accumulation_steps=2),
        lambda: keras.optimizers.Nadam(0.05),
    ],
    ids=["penalties", "momentum", "clipping", "accumulation", "Nadam"],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_each_of_stacked_weights_gets_its_gradient(make, dtype):
    found = []
    for accelerated in (True, False):
        keras.config.set_dtype_policy(dtype)  # the fixture resets it in the end
        model = build(Stacked)
        model.compile(make(), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        found.append(train(keras_dawn.accelerate(model) if accelerated else model))
    if dtype == "float64":
        close(*found)
    else:
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_gradients_that_overlap_in_part_are_taken_apart():
    whole = torch.arange(6.0)
    weights = [torch.zeros(n, requires_grad=True) for n in (4, 2, 3, 1)]
    for weight, view in zip(weights, (whole[:4], whole[4:], whole[2:5], None), strict=True):
        weight.grad = view
    expected = [None if w.grad is None else w.grad.clone() for w in weights]
    take_apart(weights)
    for weight, gradient in zip(weights[:3], expected[:3], strict=True):
        assert torch.equal(weight.grad, gradient)
        weight.grad.mul_(2)
    for weight, gradient in zip(weights[:3], expected[:3], strict=True):
        assert torch.equal(weight.grad, 2 * gradient)
    assert weights[3].grad is None
    assert weights[0].grad.data_ptr() == whole.data_ptr()  # whose memory nobody has before it
