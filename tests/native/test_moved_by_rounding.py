"""What the page on the engine says of weights whose gradient is nothing but rounding."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

X, Y = np.random.RandomState(0).rand(64, 8).astype("float32"), np.arange(64) % 3
ORDER = np.random.RandomState(1).permutation(8)


def trained(accelerated=False, order=None, **settings):
    """`(losses, predictions)` of a network that is the same function for each order."""
    keras.utils.set_random_seed(0)
    dense = layers.Dense(16, **settings)
    model = keras.Sequential(
        [keras.Input((8,)), dense, layers.BatchNormalization(), layers.ReLU(), layers.Dense(3)]
    )
    x = X
    if order is not None:
        kernel, *bias = dense.get_weights()
        dense.set_weights([kernel[order], *bias])
        x = X[:, order]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    if accelerated:
        keras_dawn.accelerate(model)
    keras.utils.set_random_seed(1)
    losses = model.fit(x, Y, 16, epochs=8, verbose=0).history["loss"]
    return np.array(losses), model.predict(x, verbose=0)


@pytest.mark.parametrize("other", [{"accelerated": True}, {"order": ORDER}])
def test_a_bias_before_a_normalisation_moves_as_rounding_goes_in_plain_keras_too(other):
    """The losses are equal; what is predicted is not, and is where there is no such bias."""
    for settings, difference in (({}, 0.05), ({"use_bias": False}, 1e-5)):
        (losses, outputs), (theirs, predicted) = trained(**other, **settings), trained(**settings)
        np.testing.assert_allclose(losses, theirs, atol=1e-6)
        np.testing.assert_allclose(outputs, predicted, atol=difference)
        if not settings and "order" in other:
            assert np.abs(outputs - predicted).max() > 1e-4
