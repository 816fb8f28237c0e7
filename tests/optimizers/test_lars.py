"""LARS against hand-computed steps."""

from keras_dawn.optimizers import LARS, SGD

import keras
import numpy as np
import pytest

from tests.on_device import torch
from tests.optimizers.test_layerwise import gradients, variables


@pytest.mark.parametrize("nesterov", [False, True])
def test_lars_by_hand(nesterov):
    keras.config.set_floatx("float64")
    weights = variables()
    by_hand = [v.numpy().copy() for v in weights]
    velocities = [np.zeros_like(w) for w in by_hand]
    ours = LARS(2.0, 0.9, nesterov, weight_decay=1e-2, trust_coefficient=0.02, epsilon=1e-3)
    for step in range(20):
        given = gradients(step, weights)
        ours.apply(given, weights)
        slopes = [g.cpu().numpy() for g in given]
        for number, (w, g) in enumerate(zip(by_hand, slopes, strict=True)):
            if w.ndim > 1:
                size, slope = np.linalg.norm(w), np.linalg.norm(g)
                trust = 0.02 * size / (slope + 1e-2 * size + 1e-3)
                g = trust * (g + 1e-2 * w)
            velocities[number] = 0.9 * velocities[number] + g
            by_hand[number] -= 2.0 * (
                g + 0.9 * velocities[number] if nesterov else velocities[number]
            )
    for v, expected in zip(weights, by_hand, strict=True):
        np.testing.assert_allclose(v.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_lars_trusts_a_gradient_or_weight_of_nothing_by_one():
    keras.config.set_floatx("float64")
    weights = [keras.Variable(np.zeros((2, 2)), dtype="float64", name="a")]
    LARS(0.5, momentum=0.0).apply([torch.ones(2, 2, dtype=torch.float64)], weights)
    np.testing.assert_allclose(weights[0].numpy(), -0.5)
    weights = [keras.Variable(np.ones((2, 2)), dtype="float64", name="a")]
    optimizer = LARS(0.5, momentum=0.0, weight_decay=0.1, trust_coefficient=0.02)
    optimizer.apply([torch.zeros(2, 2, dtype=torch.float64)], weights)
    np.testing.assert_allclose(weights[0].numpy(), 1 - 0.5 * 0.1)


def test_lars_leaves_out_what_it_is_told_to():
    keras.config.set_floatx("float64")
    ours, plain = variables(), variables()
    LARS(0.1, no_adaptation=["kernel"]).apply(gradients(0, ours), ours)
    SGD(0.1).apply(gradients(0, plain), plain)
    same = [np.allclose(a.numpy(), b.numpy()) for a, b in zip(ours, plain, strict=True)]
    assert same == [False, True, True]


def test_a_bias_of_two_dimensions_is_neither_adapted_nor_decayed():
    def biases():  # attention and GRUs have such
        return [keras.Variable(np.ones((2, 3)), dtype="float64", name="bias")]

    keras.config.set_floatx("float64")
    ours, plain = biases(), biases()
    LARS(0.1, weight_decay=0.1).apply(gradients(0, ours), ours)
    SGD(0.1).apply(gradients(0, plain), plain)
    np.testing.assert_allclose(ours[0].numpy(), plain[0].numpy())
