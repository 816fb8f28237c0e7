"""Recurrent layers in both directions, over images, in Python; layers in every step."""

import keras_dawn
from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.conftest import relative
from tests.native.recurrent_models import (
    FEATURES,
    STEPS,
    assert_as_keras,
    batch,
    of_one_layer,
)
from tests.native.trained import assert_trains_alike
from tests.on_device import torch

BIDIRECTIONAL = {
    "LSTM": lambda: layers.LSTM(4, return_sequences=True),
    "last": lambda: layers.LSTM(4),
    "states": lambda: layers.LSTM(4, return_state=True),
    "GRU": lambda: layers.GRU(4, return_sequences=True, return_state=True),
    "SimpleRNN": lambda: layers.SimpleRNN(4),
    "relu": lambda: layers.GRU(4, activation="relu"),
    "dropout": lambda: layers.LSTM(4, dropout=0.3, recurrent_dropout=0.2),
    "cells": lambda: layers.RNN([layers.LSTMCell(3), layers.GRUCell(4)], return_sequences=True),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("name", "merge"),
    [(name, "concat") for name in BIDIRECTIONAL]
    + [(name, merge) for name in ("LSTM", "states") for merge in ("sum", "mul", "ave", None)],
)
def test_both_directions(name, merge, masked, true_float64):
    layer = layers.Bidirectional(BIDIRECTIONAL[name](), merge_mode=merge)
    assert_as_keras(of_one_layer(layer, masked), batch(masked))


@pytest.mark.filterwarnings("ignore:Gradients do not exist")
@pytest.mark.parametrize("merge, place", [(None, 0), ("concat", 1)])
def test_weight_decay_leaves_a_direction_alone_that_nobody_reads(merge, place, true_float64):
    def build():
        inputs = keras.Input((STEPS, FEATURES))
        layer = layers.Bidirectional(layers.LSTM(4, return_state=merge is not None), merge)
        model = keras.Model(inputs, layer(inputs)[place])
        model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.5), "mse")
        return model

    random = np.random.default_rng(0)
    x, y = random.normal(size=(8, STEPS, FEATURES)), random.normal(size=(8, 4))
    assert_trains_alike(build, x, y, 1e-9)


def test_directions_of_different_layers_and_initial_states(true_float64):
    x, h, c = keras.Input((STEPS, FEATURES)), keras.Input((4,)), keras.Input((4,))
    backward = layers.LSTM(4, activation="relu", go_backwards=True, return_sequences=True)
    forward = layers.GRU(4, return_sequences=True)
    y = layers.Bidirectional(forward, backward_layer=backward)(x)
    z = layers.Bidirectional(layers.LSTM(4))(x, initial_state=[h, c, c, h])
    states = [torch.randn(4, 4, dtype=torch.float64) for _ in range(2)]
    assert_as_keras(keras.Model([x, h, c], [y, z]), batch(), *states)


def tanh(x):
    return 1.7159 * keras.ops.tanh(x * 2 / 3)  # LeCun's


def sigmoid(x):
    return keras.ops.clip(0.2 * x + 0.5, 0, 1)


@pytest.mark.parametrize("name", ["activation", "recurrent_activation"])
def test_other_functions_of_the_names_of_keras_s_are_themselves(name, true_float64):
    layer = layers.Bidirectional(layers.LSTM(4), name="both")
    model, x = of_one_layer(layer), batch()
    before = model(x, training=False)
    function = {"activation": tanh, "recurrent_activation": sigmoid}[name]
    setattr(layer.forward_layer.cell, name, function)  # what the layer is given it makes anew
    assert relative(before, model(x, training=False)) > 1e-3
    lowered = lower(model, False, masks=False)
    assert relative(lowered.module(x), model(x, training=False)) < 1e-12


IMAGES = {
    "1D": (1, {}),
    "2D": (2, {"padding": "same", "return_sequences": True, "return_state": True}),
    "3D": (3, {"padding": "same", "activation": "relu"}),
    "strides": (2, {"padding": "same", "strides": 2, "use_bias": False, "go_backwards": True}),
    "dilation": (2, {"dilation_rate": 2, "return_state": True}),
    "dropout": (2, {"dropout": 0.3, "recurrent_dropout": 0.2}),
    "channels first": (2, {"data_format": "channels_first", "dropout": 0.2, "padding": "same"}),
    "stateful": (1, {"stateful": True}),
    "hard gates": (2, {"recurrent_activation": "hard_sigmoid"}),
    "gates without bounds": (1, {"recurrent_activation": "softplus"}),
}


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", IMAGES)
def test_convolutions_over_time(name, masked, true_float64):
    rank, settings = IMAGES[name]
    sizes = (6, 5, 4)[:rank]
    shape = (2, *sizes) if name == "channels first" else (*sizes, 2)
    inputs, mask = keras.Input(batch_shape=(3, 4, *shape)), keras.Input((4,), dtype="bool")
    layer = getattr(layers, f"ConvLSTM{rank}D")(3, 2 if rank == 3 else 3, **settings)
    x = layers.Rescaling(0.5)(inputs)
    outputs = keras.tree.flatten(layer(x, mask=mask) if masked else layer(x))
    model = keras.Model([inputs, mask] if masked else inputs, outputs)
    x = [torch.randn(3, 4, *shape, dtype=torch.float64)]
    if masked:
        x.append(torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0]]).bool())
    if name != "stateful":
        assert_as_keras(model, *x)
        return
    calls = [lower(model, False).module, lambda *x: model(list(x) if masked else x[0])]
    for call in calls:
        for state in layer.states:
            state.assign(keras.ops.zeros_like(state))
        calls[calls.index(call)] = [call(*x), call(*x), layer.states[1].value.clone()]
    for one, other in zip(*calls, strict=True):
        assert relative(one, other) < 1e-12


def small_network():
    return keras.Sequential(
        [keras.Input((6, 6, 2)), layers.Conv2D(3, 3), layers.BatchNormalization(trainable=False),
         layers.GlobalAveragePooling2D(), layers.Dense(2)]
    )  # fmt: skip


EVERY_STEP = {
    "Dense": (lambda: layers.Dense(4, "relu"), (5,), False),
    "Conv2D": (lambda: layers.Conv2D(3, 3, padding="same"), (6, 5, 2), False),
    "LSTM": (lambda: layers.LSTM(3), (4, 2), False),
    "network": (small_network, (6, 6, 2), True),
}


@pytest.mark.parametrize("name", EVERY_STEP)
def test_a_layer_in_every_step(name, true_float64):
    make, shape, as_it_is = EVERY_STEP[name]
    inputs = keras.Input((None, *shape))
    x = layers.Rescaling(0.5)(inputs)
    model = keras.Model(inputs, layers.TimeDistributed(make(), name="each")(x))
    x = torch.randn(2, 3, *shape, dtype=torch.float64)
    if not as_it_is:
        assert_as_keras(model, x)
        return
    lowered = lower(model, False)
    assert not lowered.fallbacks
    assert relative(lowered.module(x), model(x, training=False)) < 1e-12
    assert [layer.name for layer, _ in lower(model, True).fallbacks] == ["each"]


def test_a_layer_in_every_step_of_masked_sequences(true_float64):
    layer = layers.TimeDistributed(layers.Dense(4))
    x = inputs = keras.Input((STEPS, FEATURES))
    x = layer(layers.Masking()(x))
    assert_as_keras(keras.Model(inputs, layers.LSTM(3)(x)), batch(True))


@pytest.mark.parametrize(
    "inner", [lambda: layers.Dropout(0.5), lambda: layers.BatchNormalization()]
)
def test_steps_that_depend_on_each_other_are_left_to_keras(inner, true_float64):
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, layers.TimeDistributed(inner(), name="each")(inputs))
    assert [layer.name for layer, _ in lower(model, True).fallbacks] == ["each"]
    assert not lower(model, False).fallbacks


def less_their_mean(x):
    return x - keras.ops.mean(x, axis=0)


@pytest.mark.parametrize(
    "inner",
    [
        lambda: layers.Dense(4, activation=less_their_mean),
        lambda: layers.Activation(less_their_mean),
        lambda: layers.Softmax(axis=0),
        lambda: layers.UnitNormalization(axis=(-2, 1)),
        lambda: keras.Sequential([keras.Input((FEATURES,)), layers.Dense(4, less_their_mean)]),
    ],
)
def test_steps_whose_samples_depend_on_each_other_are_left_to_keras(inner, true_float64):
    inputs = keras.Input((STEPS, FEATURES))
    model = keras.Model(inputs, layers.TimeDistributed(inner(), name="each")(inputs))
    lowered, x = lower(model, False, masks=False), batch()
    assert [layer.name for layer, _ in lowered.fallbacks] == ["each"]
    assert relative(lowered.module(x), model(x, training=False)) < 1e-12


class Tagger(keras.Model):
    """A model whose Python is its own."""

    def __init__(self):
        super().__init__()
        self.both = layers.Bidirectional(layers.LSTM(4, return_sequences=True))
        self.states = layers.GRU(4, return_sequences=True, return_state=True)
        self.head = layers.TimeDistributed(layers.Dense(2))

    def call(self, x):
        sequence, state = self.states(self.both(x))
        return self.head(sequence + state[:, None])


def test_recurrent_layers_in_python_of_ones_own_compute_natively():
    x = np.random.default_rng(0).normal(size=(12, STEPS, FEATURES)).astype("float32")
    results = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = Tagger()
        model(x[:4])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        if native:
            keras_dawn.accelerate(model)
        model.fit(x, x[..., :2], batch_size=4, epochs=2, shuffle=False, verbose=0)
        if native:
            explanation = keras_dawn.explain(model)
            assert not explanation.fallbacks
            assert {"Bidirectional", "GRU", "TimeDistributed"} <= set(explanation.layers)
        results.append(model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Translator(keras.Model):
    """Words to words in Python of one's own: masks, and states from layer to layer."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(11, 4, mask_zero=True)
        self.encoder = layers.LSTM(5, return_state=True)
        self.decoder = layers.LSTM(5, return_sequences=True)
        self.head = layers.TimeDistributed(layers.Dense(11))

    def call(self, inputs):
        given, before = inputs
        _, h, c = self.encoder(self.embedding(given))
        return self.head(self.decoder(self.embedding(before), initial_state=[h, c]))


def test_states_and_masks_in_python_of_ones_own():
    random = np.random.default_rng(0)
    given, before, after = (random.integers(0, 11, (12, length)) for length in (6, 5, 5))
    results = []
    for native in (True, False):
        keras.utils.set_random_seed(1)
        model = Translator()
        model([given[:4], before[:4]])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss)
        if native:
            keras_dawn.accelerate(model)
        data = ([given, before], after)
        history = model.fit(*data, batch_size=4, epochs=2, shuffle=False, verbose=0).history
        if native:
            assert not keras_dawn.explain(model).fallbacks
        results.append([*model.get_weights(), np.array(history["loss"])])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
