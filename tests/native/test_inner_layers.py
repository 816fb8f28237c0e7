"""Layers inside layers, with masks and chance; settings of Keras; labels outside the classes."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

WORDS = np.random.default_rng(0).integers(0, 6, (16, 7))
SERIES = np.random.default_rng(1).normal(size=(16, 7, 3))


def dense(**settings):
    return layers.TimeDistributed(layers.Dense(4, **settings))


MODELS = {
    "spectral": (WORDS, lambda: [
        layers.Embedding(6, 4, mask_zero=True), layers.SpectralNormalization(layers.Dense(4)),
        layers.GlobalAveragePooling1D(),
    ]),
    "pipeline": (SERIES, lambda: [
        layers.Pipeline([layers.Masking(), layers.Dense(4), layers.GlobalAveragePooling1D()]),
    ]),
    "pipeline that masks": (WORDS, lambda: [
        layers.Pipeline([layers.Embedding(6, 4, mask_zero=True)]), layers.LSTM(3),
    ]),
    "normalised steps": (SERIES, lambda: [
        dense(activation=layers.BatchNormalization()), layers.Flatten(),
    ]),
    "dropped steps": (SERIES, lambda: [
        dense(activation=layers.Dropout(0.5, seed=3)), layers.Flatten(),
    ]),
    "softmax": (SERIES, lambda: [layers.Dense(4, activation=layers.Softmax()), layers.Flatten()]),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Layer 'spectral")  # Keras's own, of a mask that it drops
@pytest.mark.parametrize("name", MODELS)
def test_a_layer_inside_another_computes_what_keras_computes(name, true_float64):
    x, make = MODELS[name]
    losses = []
    for accelerated in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input(x.shape[1:]), *make(), layers.Dense(1)])
        model.compile("sgd", "mse")
        if accelerated:
            keras_dawn.accelerate(model)
        keras.utils.set_random_seed(1)
        done = model.fit(x, SERIES[:, 0, :1], epochs=3, batch_size=8, shuffle=False, verbose=0)
        losses.append(done.history["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)


def test_a_changed_epsilon_of_keras_is_followed():
    x = np.ones((4, 2), "float32")
    layer = layers.Normalization(mean=[0.0, 0.5], variance=[0.0, 0.0])
    model = keras.Sequential([keras.Input((2,)), layer])
    plain = keras.Sequential(
        [keras.Input((2,)), layers.Normalization.from_config(layer.get_config())]
    )
    keras_dawn.accelerate(model)
    before = keras.config.epsilon()
    try:
        for epsilon in (before, 1e-2):
            keras.config.set_epsilon(epsilon)
            expected = plain.predict(x, verbose=0)
            np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-6)
    finally:
        keras.config.set_epsilon(before)


@pytest.mark.parametrize("label", [-1, -3])
def test_a_top_k_counts_negative_labels_as_keras_does(label):
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    y = np.arange(16) % 5
    y[3] = label
    found = []
    for accelerated in (False, True):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), layers.Dense(5)])
        metric = keras.metrics.SparseTopKCategoricalAccuracy(2)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=label)
        model.compile("sgd", loss, metrics=[metric])
        if accelerated:
            keras_dawn.accelerate(model)
        found.append(model.fit(x, y, epochs=2, verbose=0, shuffle=False).history)
    for key in found[0]:
        assert found[1][key] == pytest.approx(found[0][key], rel=1e-5)


def test_a_shared_normalisation_averages_in_the_order_of_its_calls(true_float64):
    """Its second call, behind a `Lambda` that may make a mask, is Keras's own."""
    found = []
    for accelerated in (False, True):
        keras.utils.set_random_seed(0)
        norm = layers.BatchNormalization(momentum=0.5)
        inputs = keras.Input((3,))
        outputs = norm(layers.Lambda(lambda x: x * x)(norm(inputs)))
        model = keras.Model(inputs, layers.Dense(1)(outputs))
        model.compile("sgd", "mse")
        if accelerated:
            keras_dawn.accelerate(model)
        model.fit(SERIES[:, 0], SERIES[:, 0, :1], epochs=2, verbose=0, shuffle=False)
        found.append([norm.moving_mean.numpy(), norm.moving_variance.numpy()])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-10)
