"""Batch normalisation of masked series, wherever the mask is made."""

import keras_dawn
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers, ops


class MakesMask(layers.Layer):
    """Makes a mask where there was none."""

    def compute_mask(self, x, mask=None):
        return ops.any(ops.greater(x, 0.0), axis=-1)

    def call(self, x):
        return x


def mask_of_a_nested_model(x, norm):
    return norm(keras.Sequential([MakesMask(), layers.LeakyReLU()])(x))


def mask_of_the_graph(x, norm):
    return norm(MakesMask()(x))


def mask_of_images(x, norm):
    images = MakesMask()(layers.Reshape((5, 1, 3))(x))
    return layers.Reshape((5, 3))(norm(layers.ReLU()(images)))


def once_with_a_mask_and_once_without(x, norm):
    return norm(layers.Lambda(lambda z: z**2)(norm(MakesMask()(norm(x)))))


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize(
    ("layout", "axis"),
    [
        (mask_of_a_nested_model, 1),
        (mask_of_the_graph, 1),
        (mask_of_images, -1),
        (once_with_a_mask_and_once_without, 1),
    ],
)
@pytest.mark.filterwarnings("ignore:(?s).*was passed an input with a mask")
def test_a_normalisation_leaves_out_what_is_masked(layout, axis, trainable, true_float64):
    x = np.random.default_rng(0).normal(size=(4, 5, 3)) - 0.8
    results = []
    for native in (False, True):
        keras.utils.set_random_seed(0)
        norm = layers.BatchNormalization(axis=axis, momentum=0.5, trainable=trainable)
        start = keras.Input((5, 3))
        model = keras.Model(start, layers.Dense(2)(layers.Flatten()(layout(start, norm))))
        model.compile(keras_dawn.SGD(0.1), "mse")
        if native:
            keras_dawn.accelerate(model)
        model.fit(x, np.ones((4, 2)), batch_size=3, epochs=2, shuffle=False, verbose=0)
        if native:
            lowered = lower(model, True, True)
            assert norm not in [layer for layer, _ in lowered.fallbacks]
        results.append(model.get_weights())
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
