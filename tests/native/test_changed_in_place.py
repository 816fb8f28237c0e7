"""Operators in place (`x *= 2`) in Python of one's own, on memory that others may hold."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.own_calls import Called
from tests.on_device import torch


def turned(x):
    """As in KerasHub's Gemma: the tensor is a view of memory that was made for it."""
    halves = ops.stack(ops.split(x, 2, axis=-1), axis=-1)
    turned = ops.reshape(halves, ops.shape(x))
    turned *= 3.0
    return turned


def view_of_input(x):
    view = ops.reshape(x, (-1, 4, 2))
    view *= 3.0
    return ops.reshape(view, (-1, 8)) + x


def read_before(x):
    made = x + x * 2.0
    view = ops.reshape(made, (-1, 4, 2))
    other = made * 5.0
    view *= 3.0
    return ops.reshape(view, (-1, 8)) + other


def read_after(x):
    made = x + x * 2.0
    view = ops.reshape(made, (-1, 4, 2))
    view *= 3.0
    return ops.reshape(view, (-1, 8)) + made


def two_views(x):
    made = x + x * 2.0
    view, other = ops.reshape(made, (-1, 4, 2)), ops.transpose(made)
    view *= 3.0
    return ops.reshape(view, (-1, 8)) + ops.transpose(other)


def itself_returned(x):
    made = x + x * 2.0
    view = ops.reshape(made, (-1, 8))
    view *= 3.0
    return made


NATIVE, OTHERS = [turned], [view_of_input, read_before, read_after, two_views, itself_returned]


@pytest.mark.parametrize("function", [*NATIVE, *OTHERS], ids=lambda f: f.__name__)
def test_others_see_what_they_see_in_plain_keras(function, true_float64):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(24, 8)), generator.normal(size=(24, 3))
    results = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8,))
        middle = layers.Dense(8)(inputs)
        model = keras.Model(inputs, layers.Dense(3)(ops.add(Called(function)(middle), middle)))
        model.compile(keras.optimizers.SGD(1e-4), "mse")
        if accelerate:
            keras_dawn.accelerate(model)
        model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        results.append([*model.get_weights(), model.predict(x, verbose=0)])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
    assert bool(keras_dawn.explain(model).fallbacks) == (function not in NATIVE)
