"""Accelerated models against numbers that are computed by hand."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers


@pytest.mark.parametrize("epsilon", [1e-3, 0.5])
def test_moving_variance_is_the_biased_one(epsilon):
    """By hand: one step with momentum 0.9 on known numbers."""
    model = keras.Sequential(
        [keras.Input((2,)), layers.BatchNormalization(momentum=0.9, epsilon=epsilon)]
    )
    model.compile(keras_dawn.SGD(0.0, momentum=0.5), "mse")
    keras_dawn.accelerate(model)
    x = np.array([[0.0, 1.0], [2.0, 5.0]], "float32")
    model.fit(x, x, verbose=0)
    layer = model.layers[0]
    np.testing.assert_allclose(layer.moving_mean.numpy(), [0.1 * 1, 0.1 * 3], rtol=1e-5)
    np.testing.assert_allclose(
        layer.moving_variance.numpy(), [0.9 + 0.1 * 1, 0.9 + 0.1 * 4], rtol=1e-4
    )


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("shape", [(6,), (1, 1, 6)])
def test_a_single_value_a_channel_is_normalised_to_beta_exactly(shape, center, policy):
    """What rounding leaves of 0 would pass a ReLU, with its gradient, at random."""
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential(
        [
            keras.Input(shape),
            layers.BatchNormalization(center=center),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(1, "linear"),
        ]
    )
    model.compile(keras_dawn.SGD(0.5), "mse")
    x = np.random.default_rng(0).normal(size=(1, *shape))
    trained = model.trainable_variables[:-1]
    before = [np.array(variable.numpy()) for variable in trained]
    keras_dawn.accelerate(model)
    model.train_on_batch(x, np.ones((1, 1)))
    for variable, old in zip(trained, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), old)  # no gradient passes ReLU's kink


@pytest.mark.parametrize("k, column", [(1, False), (3, False), (5, False), (8, False), (3, True)])
def test_top_k_counts_the_first_k_of_the_logits(k, column):
    """By hand: how many classes are ahead of the right one."""
    logits = np.random.default_rng(0).normal(size=(64, 8)).astype("float32")
    y = np.arange(64) % 8
    ahead = (logits > logits[np.arange(64), y][:, None]).sum(1)
    for metric, loss, targets in (
        (
            keras.metrics.SparseTopKCategoricalAccuracy(k),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            y[:, None] if column else y,
        ),
        (
            keras.metrics.TopKCategoricalAccuracy(k),
            keras.losses.CategoricalCrossentropy(from_logits=True),
            np.eye(8)[y],
        ),
    ):
        inputs = keras.Input((8,))
        model = keras.Model(inputs, layers.Identity()(inputs))
        model.compile(loss=loss, metrics=[metric])
        keras_dawn.accelerate(model)
        found = model.evaluate(logits, targets, batch_size=10, verbose=0, return_dict=True)
        assert found[metric.name] == pytest.approx((ahead < k).mean(), abs=1e-6)
