"""After a batch that was refused, and whose error was caught, chance goes on as in plain Keras."""

import keras_dawn
from keras_dawn.foundation import keras_random

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch


class UnseededNoise(layers.Layer):
    """Draws from the generator that Keras has for all."""

    def call(self, x):
        return x + keras.random.normal(ops.shape(x))


class ForSizes(layers.Layer):
    """Is written in torch for the sizes of each batch."""

    def call(self, x):
        return ops.reshape(ops.reshape(x, (ops.shape(x)[0] * ops.shape(x)[1], -1)), ops.shape(x))


class Both(keras.Model):
    """One input goes through a layer of chance or memory, then numbers are looked up in a table."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.table, self.head = layer, layers.Embedding(4, 5), layers.Dense(3)

    def build(self, shapes):
        for layer, shape in ((self.layer, 0), (self.table, 1), (self.head, 0)):
            layer.build(shapes[shape])

    def call(self, inputs, training=None):
        x, numbers = inputs
        return self.head(self.layer(x, training=training) + self.table(numbers))


class Around(keras.Model):
    """Keeps its Python, so that the graph inside it is called by itself."""

    def __init__(self, graph):
        super().__init__()
        self.graph = graph

    def build(self, shapes):
        if not self.graph.built:
            self.graph.build(shapes)

    def call(self, inputs, training=None):
        repr(self)
        return self.graph(inputs, training=training)


def graph_of(layer, between=None):
    x, numbers = keras.Input((6, 5), batch_size=8), keras.Input((6,), 8, dtype="int32")
    found = layer(x) if between is None else between(layer(x))
    return keras.Model(
        [x, numbers], layers.Dense(3)(layers.Add()([found, layers.Embedding(4, 5)(numbers)]))
    )


BUILDS = {
    "graph inside": lambda layer: Around(graph_of(layer)),
    "whole call": Both,
    "whole call of a part": lambda layer: Around(Both(layer)),
    "sizes": lambda layer: graph_of(layer, ForSizes()),
}
LAYERS = {
    "seeded": lambda: layers.Dropout(0.5, seed=1),
    "of torch": lambda: layers.Dropout(0.5),
    "of Keras": UnseededNoise,
    "noise": lambda: layers.GaussianNoise(0.5),
    "recurrent": lambda: layers.LSTM(5, return_sequences=True, dropout=0.3),
    "states": lambda: layers.LSTM(5, return_sequences=True, stateful=True, use_cudnn=False),
    "divided": lambda: layers.SpectralNormalization(layers.Dense(5)),
}


def batch(refused=False):
    generator = np.random.default_rng(0)
    x, numbers = generator.normal(size=(8, 6, 5)), generator.integers(0, 4, (8, 6))
    numbers[3, 3] = 9 if refused else 0
    return [x.astype("float32"), numbers]


def after_refused_batches(build, step, accelerate):
    """Losses or outputs, with refused batches between, and all that chance and memory are then."""
    keras.utils.set_random_seed(0)
    model = build()
    model(batch())
    model.compile(keras.optimizers.SGD(0.01), "mse")
    if accelerate:
        keras_dawn.accelerate(model)
    keras.utils.set_random_seed(3)
    found = []
    for refused in (False, True, False, True, True, False):
        if refused:
            with pytest.raises(IndexError):
                step(model, batch(refused))
        else:
            found.append(np.asarray(step(model, batch())))
    states = [variable.numpy() for variable in model.non_trainable_variables]
    return found, states, keras_random.global_seed(), torch.get_rng_state()


def compare(build, step):
    plain, native = (after_refused_batches(build, step, accelerate) for accelerate in (False, True))
    torch.testing.assert_close(native[:2], plain[:2], rtol=1e-4, atol=1e-5)
    assert (native[2] is None) == (plain[2] is None)
    assert native[2] is None or torch.equal(native[2], plain[2])
    assert torch.equal(native[3], plain[3])


CASES = [("graph inside", layer) for layer in LAYERS] + [(build, "seeded") for build in BUILDS][1:]


@pytest.mark.parametrize(("build", "layer"), CASES)
def test_a_training_goes_on_with_the_draws_and_states_of_plain_keras(build, layer):
    targets = np.zeros((8, 6, 3), "float32")
    compare(
        lambda: BUILDS[build](LAYERS[layer]()), lambda model, x: model.train_on_batch(x, targets)
    )


def test_predictions_by_chance_go_on_with_those_of_plain_keras():
    class Dropping(layers.Layer):
        def call(self, x):
            return keras.random.dropout(x, 0.5)

    compare(lambda: Both(Dropping()), lambda model, x: model.predict(x, verbose=0))
