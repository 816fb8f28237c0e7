"""Layers of one's own: what only combines layers is lowered with them."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.own_calls import Setter, build, called, data, follows, train
from tests.on_device import torch

SCALE = 2.0


class Block(layers.Layer):
    """A residual block with an attribute, a list of layers and a method of its own."""

    def __init__(self, width=8, residual=True):
        super().__init__()
        self.residual = residual
        self.denses = [layers.Dense(width, "relu") for _ in range(2)]
        self.norm = layers.LayerNormalization()
        self.drop = layers.Dropout(0.0)

    def deep(self, x):
        for dense in self.denses:
            x = dense(x)
        return x

    def call(self, x, training=None):
        y = self.drop(self.deep(x), training=training)
        return self.norm(x + y) if self.residual else self.norm(y)


class Positions(layers.Layer):
    """Adds an embedding of the places; a constant reaches a layer."""

    def __init__(self):
        super().__init__()
        self.places = layers.Embedding(6, 8)

    def call(self, x):
        places = ops.expand_dims(ops.arange(0, ops.shape(x)[1]), 0)
        return x + self.places(places)


class Windows(layers.Layer):
    """A reshape with the size of the batch in it."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(8)

    def call(self, x):
        batch, length, width = ops.shape(x)
        x = ops.reshape(x, (batch, length // 2, 2 * width))
        return ops.reshape(self.dense(x), (batch, length // 2, 2, 4))


class Nested(layers.Layer):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(), Block(residual=False)]
        self.average = layers.BatchNormalization()

    def call(self, x):
        return self.average(sum([block(x) * SCALE for block in self.blocks]))


class Two(layers.Layer):
    """Two inputs, two outputs."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(8)

    def call(self, x, y):
        return self.dense(x) * y, ops.mean(x - y, axis=-1, keepdims=True)


class Branch(layers.Layer):
    """Another way in training."""

    def __init__(self):
        super().__init__()
        self.one, self.other = layers.Dense(8), layers.Dense(8)

    def call(self, x, training=False):
        if training:
            return self.one(self.other(x))
        return self.other(self.one(x))


def helper(x, power):
    return ops.power(ops.abs(x) + 1.0, power)


class Helper(layers.Layer):
    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(8)

    def call(self, x):
        return self.dense(helper(x, 0.5))


class Expressions(layers.Layer):
    """Generator expressions, one unpacked after a name in it has got another value."""

    def __init__(self):
        super().__init__()
        self.denses = [layers.Dense(8), layers.Dense(8)]

    def call(self, x):
        first, second = (dense(x) for dense in self.denses)
        later = (dense(x) for dense in self.denses)
        x = first * second
        return sum(y * SCALE for y in later)


PURE = [Block, Positions, Nested, Branch, Helper, Expressions]


@pytest.mark.parametrize("layer", PURE, ids=lambda layer: layer.__name__)
def test_layers_and_operations_alone_are_lowered(layer, true_float64):
    assert called(follows(layer)) == []


@pytest.mark.parametrize("layer", PURE, ids=lambda layer: layer.__name__)
def test_a_subclassed_model_that_only_combines_layers_is_lowered(layer, true_float64):
    explanation = keras_dawn.explain(follows(layer, subclassed=True))
    assert explanation.python is None and not explanation.fallbacks


def test_the_size_of_the_batch_may_be_in_a_reshape(true_float64):
    model = follows(Windows)
    assert called(model) == []
    for count in (1, 7):  # other batches than those that were traced
        x = data(count)[0]
        torch.testing.assert_close(model.predict(x, verbose=0), model(x).detach().cpu().numpy())


def test_several_inputs_and_outputs(true_float64):
    def build():
        keras.utils.set_random_seed(0)
        one, other = keras.Input((8,)), keras.Input((8,))
        model = keras.Model([one, other], list(Two()(one, other)))
        model.compile(keras.optimizers.SGD(0.0625), "mse")
        return model

    x = [np.random.default_rng(seed).normal(size=(20, 8)) for seed in (0, 1)]
    results = []
    for model in (build(), keras_dawn.accelerate(build())):
        model.fit(x, [x[0], x[1][:, :1]], epochs=3, shuffle=False, verbose=0)
        results.append(model.get_weights())
    assert called(model) == []
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_that_of_keras(policy):
    keras.config.set_dtype_policy(policy)
    model, x = build(Nested), data()[0].astype("float32")
    module = keras_dawn.to_torch(model)
    assert "keras_" not in module.code.replace("keras_dawn_native", "")
    torch.testing.assert_close(module(torch.tensor(x)), model(x), rtol=2e-2, atol=2e-2)


def test_code_shows_the_layers_inside():
    code = keras_dawn.to_torch(build(Block)).code
    assert code.count("linear") == 4 and "layer_norm" in code


def test_tracing_leaves_no_trace():
    model = build(Nested)
    x = data()[0]
    inner = [layer for layer in model._flatten_layers() if not layer._inbound_nodes]
    before = keras.layers.Reshape((1,)).name
    keras_dawn.to_torch(model)
    after = keras.layers.Reshape((1,)).name
    assert int(after.split("_")[1]) - int("0" + before.partition("_")[2]) == 1
    assert inner and all(not layer._inbound_nodes for layer in inner)
    assert all(type(layer).__call__ is layers.Layer.__call__ for layer in inner)
    assert model(x).shape == (40, 3)


def own_layer(model):
    return next(layer for layer in model.layers if isinstance(layer, Block))


def swap_attribute(model):
    own_layer(model).residual = not own_layer(model).residual


def swap_global(model):
    global SCALE
    SCALE = 0.5 if SCALE != 0.5 else 2.0


def swap_layers(model):
    own_layer(model).denses = own_layer(model).denses[::-1]


@pytest.mark.parametrize(
    ("layer", "change"),
    [(Block, swap_attribute), (Nested, swap_global)],
    ids=["attribute", "global"],
)
def test_what_its_python_reads_may_change_between_epochs(layer, change, true_float64, monkeypatch):
    monkeypatch.setattr(__import__(__name__, fromlist=["x"]), "SCALE", 2.0)
    expected = train(build(layer), callbacks=[Setter(change)])
    monkeypatch.setattr(__import__(__name__, fromlist=["x"]), "SCALE", 2.0)
    model = keras_dawn.accelerate(build(layer))
    found = train(model, callbacks=[Setter(change)])
    torch.testing.assert_close(found[1], expected[1], rtol=1e-9, atol=1e-10)
    assert called(model) == []


def test_tracing_leaves_the_mode_of_the_call_under_way(true_float64):
    class Tells(layers.Layer):
        """Tells the layer inside another mode, which Keras then tells those after it."""

        def __init__(self):
            super().__init__()
            self.norm = layers.BatchNormalization()

        def call(self, x, training=None):
            return self.norm(x, training=False) + (1.0 if training else 0.0) * x

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.tells = layers.BatchNormalization(), Tells()

        def call(self, x):
            return self.tells(self.first(x, training=True))

    results = []
    for accelerated in (False, True):
        keras.utils.set_random_seed(0)
        model = Model()
        model.compile("sgd", "mse")
        if accelerated:
            keras_dawn.accelerate(model)
        x = np.random.default_rng(0).normal(size=(8, 4))
        results.append([model.predict(x, verbose=0) for _ in range(2)])
    torch.testing.assert_close(results[1], results[0], rtol=1e-10, atol=1e-12)
