"""Layers of one's own: what only combines layers is lowered with them, the rest is called."""

import random
import sys

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch

SCALE = 2.0
FACTORS = [1.0, 2.0]


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


PURE = [Block, Positions, Nested, Branch, Helper]


class Subclassed(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.first, self.own = layers.Dense(8), layer()
        self.flatten, self.head = layers.Flatten(), layers.Dense(3)

    def call(self, x):
        return self.head(self.flatten(self.own(self.first(x))))


def build(layer, subclassed=False):
    keras.utils.set_random_seed(0)
    if subclassed:
        model = Subclassed(layer)
    else:
        inputs = keras.Input((6, 8))
        x = layer()(layers.Dense(8)(inputs))
        model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
    model.compile(
        keras.optimizers.SGD(0.0625, momentum=0.875),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def data(count=40):
    generator = np.random.default_rng(0)
    return generator.normal(size=(count, 6, 8)), generator.integers(0, 3, count)


def train(model, **arguments):
    x, y = data()
    random.seed(0)
    history = model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0, **arguments)
    return history.history["loss"], model.get_weights(), model.predict(x, verbose=0)


def follows(layer, subclassed=False):
    """Trains both ways, holds one against the other, and returns the accelerated model."""
    expected = train(build(layer, subclassed))
    model = keras_dawn.accelerate(build(layer, subclassed))
    found = train(model)
    close(found, expected)
    return model


def close(found, expected):
    """Losses, which Keras keeps in float32, weights and predictions."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(found[1:], expected[1:], rtol=1e-9, atol=1e-10)


def called(model):
    """The classes of the layers that were called as they are."""
    report = str(keras_dawn.explain(model))
    return [line.split("(")[1].split(")")[0] for line in report.splitlines() if "itself" in line]


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
    assert "keras_" not in module.code
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


class Setter(keras.callbacks.Callback):
    """Changes something between epochs that the layer's Python reads."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def on_epoch_begin(self, epoch, logs=None):
        if epoch:
            self.change(self.model)


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


def impure(function, variables=()):
    """A layer class around a `call` that is more than layers and operations."""

    class Impure(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(8)
            self.drop = layers.Dropout(0.5)
            self.calls = 0
            self.kept = []
            self.table = np.ones(8)
            self.factor = torch.tensor(3.0, dtype=torch.float64)

        call = function

        @property
        def next_number(self):
            self.calls += 1
            return float(self.calls)

    return Impure


def counts(self, x):
    self.calls += 1
    return self.dense(x) * (1.0 + self.calls)


def draws(self, x):
    return self.dense(x) * random.random()


def reads_a_list_of_numbers(self, x):
    FACTORS[0] += 1.0
    return self.dense(x) * FACTORS[0]


def keeps(self, x):
    self.kept.append(1)
    return self.dense(x) * float(len(self.kept))


def keeps_by_another_name(self, x):
    kept = self.kept
    kept.append(1)
    return self.dense(x) * float(len(kept))


def adds_a_loss(self, x):
    self.add_loss(ops.sum(ops.square(x)) * 1e-3)
    return self.dense(x)


def reads_weights(self, x):
    return self.dense(x) + ops.sum(self.dense.kernel)


def reads_weights_of_a_local(self, x):
    dense = self.dense
    return dense(x) + ops.sum(dense.kernel)


def in_place(self, x):
    y = self.dense(x)
    y += 1.0
    return y


def of_the_batch(self, x):
    return self.dense(x) / ops.shape(x)[0]


def compares_the_batch(self, x):
    return self.dense(x) * 2.0 if ops.shape(x)[0] == 8 else self.dense(x)


def wrapped(self, x):
    try:
        return self.dense(x)
    except ValueError:
        return x


def in_a_mode(self, x):
    return self.drop(self.dense(x), training=False)


def unused(self, x):
    self.drop(x)
    return self.dense(x)


def past_the_call(self, x):
    return self.dense.call(x) if self.dense.built else self.dense(x)


def array(self, x):
    self.table[0] += 1.0
    return ops.multiply(self.dense(x), self.table)


def tensor(self, x):
    return self.dense(x) * self.factor


def dtype_of_torch(self, x):
    return self.dense(x) * (2.0 if x.dtype == torch.float64 else 1.0)


def closed_over():
    state = {"calls": 0}

    def call(self, x):
        state["calls"] += 1
        return self.dense(x) * float(state["calls"])

    return call


def a_new_layer(self, x):
    return layers.Add()([self.dense(x), x])


def of_torch(self, x):
    return torch.relu(self.dense(x))


def imports(self, x):
    import math

    return self.dense(x) * math.pi


def by_a_property(self, x):
    return self.dense(x) * self.next_number


IMPURE = [
    counts, draws, reads_a_list_of_numbers, keeps, keeps_by_another_name, adds_a_loss,
    reads_weights, reads_weights_of_a_local, in_place, of_the_batch, compares_the_batch, wrapped,
    in_a_mode, unused, past_the_call, array, tensor, dtype_of_torch, closed_over(), a_new_layer,
    of_torch, imports, by_a_property,
]  # fmt: skip


@pytest.mark.parametrize("function", IMPURE, ids=lambda function: function.__qualname__)
@pytest.mark.parametrize("subclassed", [False, True], ids=["graph", "subclassed"])
def test_python_that_may_do_more_is_called_every_time(
    function, subclassed, true_float64, monkeypatch
):
    def run(accelerated):
        monkeypatch.setattr(sys.modules[__name__], "FACTORS", [1.0, 2.0])
        calls = function
        if function.__qualname__.startswith("closed_over"):
            calls = closed_over()
        model = build(impure(calls), subclassed)
        if accelerated:
            keras_dawn.accelerate(model)
        return train(model), model

    (expected, _), (found, model) = run(False), run(True)
    close(found, expected)
    if function is not in_a_mode:  # in evaluation that is the mode anyway
        assert "Impure" not in keras_dawn.explain(model).layers


def test_a_layer_from_outside_is_left_alone(true_float64):
    shared = layers.Dense(8)

    def call(self, x):
        return self.dense(x) + shared(x)

    model = follows(impure(call))
    assert "Impure" not in keras_dawn.explain(model).layers


class Tokens(layers.Layer):
    """Its output has the mask that an inner layer made."""

    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(7, 8, mask_zero=True)

    def call(self, x):
        return self.tokens(x)


class Twice(layers.Layer):
    """A mask that stays inside."""

    def __init__(self):
        super().__init__()
        self.tokens, self.rest = Tokens(), layers.GlobalAveragePooling1D()

    def call(self, x):
        return self.rest(self.tokens(x))


@pytest.mark.parametrize("kind", ["outside", "inside", "subclassed"])
def test_masks_made_inside_reach_who_reads_them(kind, true_float64):
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.twice, self.head = Twice(), layers.Dense(3)

        def call(self, x):
            return self.head(self.twice(x))

    def build():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,), dtype="int32")
        if kind == "outside":
            x = layers.GlobalAveragePooling1D()(Tokens()(inputs))
        model = Model() if kind == "subclassed" else None
        if model is None:
            x = x if kind == "outside" else Twice()(inputs)
            model = keras.Model(inputs, layers.Dense(3)(x))
        model.compile(keras.optimizers.SGD(0.0625), "mse")
        return model

    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 7, (24, 6)), generator.normal(size=(24, 3))
    results = []
    for model in (build(), keras_dawn.accelerate(build())):
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        results.append((model.get_weights(), model.predict(x, verbose=0)))
    if kind != "subclassed":  # there what reads the mask is Keras's call, and so the whole is
        assert keras_dawn.explain(model).layers["Tokens"] == 1
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


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


class Patches(layers.Layer):
    def __init__(self, size):
        super().__init__()
        self.size = size

    def call(self, images):
        height, width = ops.shape(images)[1:3]
        patches = ops.image.extract_patches(images, size=self.size)
        count = (height // self.size) * (width // self.size)
        return ops.reshape(patches, (ops.shape(images)[0], count, self.size * self.size * 3))


@pytest.mark.parametrize("size", [2, 3])
def test_patches_beside_each_other_are_a_permutation(size):
    inputs = keras.Input((7, 8, 3))
    model = keras.Model(inputs, Patches(size)(inputs))
    module, x = keras_dawn.to_torch(model), torch.rand(2, 7, 8, 3)
    torch.testing.assert_close(module(x), model(x), rtol=0, atol=0)
    assert "patches_beside" in module.code


def test_settings_of_patches_that_a_permutation_is_not():
    inputs = keras.Input((7, 8, 3))
    x = torch.rand(2, 7, 8, 3)
    for settings in ({"strides": 1}, {"padding": "same"}, {"strides": 1, "dilation_rate": 2}):
        outputs = ops.image.extract_patches(inputs, 2, **settings)
        model = keras.Model(inputs, outputs)
        module = keras_dawn.to_torch(model)
        torch.testing.assert_close(module(x), model(x))
