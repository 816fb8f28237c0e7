"""Operators in place (`x *= 2`) in Python of one's own, on memory that others may hold."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.backend import set_keras_mask

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


def of_a_number(x):
    made = x * 2.0
    made += 1.0
    return made


def several_times(x):
    made = ops.matmul(x, ops.transpose(x))
    made /= 8.0
    made += x[:, :1]
    made *= 0.5
    return ops.matmul(made, x)


def read_by_another_name(x):
    made = x + x * 2.0
    other = made
    made += 1.0
    return other * 2.0


def view_read_afterwards(x):
    made = x + x * 2.0
    view = ops.reshape(made, (-1, 8))
    made += 1.0
    return view * 2.0


def by_a_product_of_one(x):
    made = x * 2.0
    view = ops.einsum("ij->ji", made)
    view += 1.0
    return made


NATIVE = [turned, of_a_number, several_times]
OTHERS = [
    view_of_input, read_before, read_after, two_views, itself_returned, read_by_another_name,
    view_read_afterwards, by_a_product_of_one,
]  # fmt: skip


@pytest.mark.parametrize("function", [*NATIVE, *OTHERS], ids=lambda f: f.__name__)
def test_others_see_what_they_see_in_plain_keras(function, true_float64):
    report = compared(lambda: around(Called(function)))
    assert bool(report.fallbacks) == (function not in NATIVE)


class AddsWhatItChanges(layers.Layer):
    """A loss, and afterwards another number in its memory, which plain Keras adds."""

    def call(self, x):
        loss = ops.mean(x) * ops.mean(x)
        self.add_loss(loss)
        loss += 5.0
        return x + loss


def test_a_loss_that_is_changed_after_it_was_added_counts_as_in_plain_keras(true_float64):
    assert compared(lambda: around(AddsWhatItChanges())).fallbacks


class Residual(keras.Model):
    """What a layer returns is changed in place, as residual networks in torch have it."""

    def __init__(self, make):
        super().__init__()
        self.first, self.second, self.head = layers.Dense(8), make(), layers.Dense(3)

    def call(self, x, training=None):
        first = self.first(x)
        second = self.second(first, training=training)
        second += first
        return self.head(second)


MADE = {
    "Dense": lambda: layers.Dense(8),
    "BatchNormalization": layers.BatchNormalization,
    "LayerNormalization": layers.LayerNormalization,
}


@pytest.mark.parametrize("kind", MADE)
def test_what_a_layer_made_may_be_changed(kind, true_float64):
    assert compared(lambda: Residual(MADE[kind])).is_whole()


def test_what_a_layer_hands_on_may_not(true_float64):
    assert compared(lambda: Residual(lambda: layers.Dropout(0.0))).python == "Residual.call"


class Within(layers.Layer):
    """A layer inside it gives its output a mask, which is known once that is lowered."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def build(self, shape):
        self.layer.build(shape)

    def call(self, x):
        return self.layer(x)


@pytest.mark.parametrize("given_by", ["Embedding", "a layer inside", "hand"])
def test_a_mask_stays_at_the_tensor_that_is_changed(given_by, true_float64):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            embedding = layers.Embedding(7, 4, mask_zero=given_by != "hand")
            self.embedding = Within(embedding) if given_by == "a layer inside" else embedding
            self.dense, self.last = layers.Dense(4), layers.LSTM(3, use_cudnn=False)

        def call(self, x):
            found = self.dense(self.embedding(x))
            if given_by == "hand":
                set_keras_mask(found, ops.not_equal(x, 0))
            found += 1.0
            return self.last(found)

    x = np.random.default_rng(0).integers(0, 7, (24, 5))
    report = compared(Model, x)
    assert report.python == "Model.call" and "masked tensor in place" in report.python_reason


def around(layer):
    inputs = keras.Input((8,))
    middle = layers.Dense(8)(inputs)
    return keras.Model(inputs, layers.Dense(3)(ops.add(layer(middle), middle)))


def compared(build, x=None):
    """What `explain` says of a model that was trained as in plain Keras, to the last digits."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(24, 8)) if x is None else x
    y = generator.normal(size=(24, 3))
    results = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        model = build()
        model.compile(keras.optimizers.SGD(1e-4), "mse")
        if accelerate:
            keras_dawn.accelerate(model)
        losses = model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0).history["loss"]
        results.append([*model.get_weights(), model.predict(x, verbose=0), np.array(losses)])
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)
    return keras_dawn.explain(model)
