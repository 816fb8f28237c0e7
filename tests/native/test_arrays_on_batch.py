"""Arrays of NumPy that are handed to `train_on_batch` and `test_on_batch` as they are."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
CLASSES = np.arange(8) % 3


class Own(keras.Model):
    """Keeps its Python, which prints nothing."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3)

    def call(self, x):
        print(end="")
        return self.dense(x)


def graph():
    return keras.Sequential([keras.Input((4,)), layers.Dense(3)])


def read_only(array):
    array = np.array(array)
    array.setflags(write=False)
    return array


TARGETS = {
    "backwards": CLASSES[::-1],
    "read only": read_only(CLASSES),  # of which torch warns
    "one for all": np.broadcast_to(np.int32(1), (8,)),
    **{dtype: CLASSES.astype(dtype) for dtype in ("uint8", "uint16", "uint32", "int16", "float64")},
}


@pytest.mark.parametrize("make", [graph, Own])
@pytest.mark.parametrize("targets", TARGETS.values(), ids=TARGETS)
def test_targets_of_any_array_count_as_in_plain_keras(targets, make):
    found = []
    for accelerated in (False, True):
        keras.utils.set_random_seed(0)
        model = make()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("sgd", loss, metrics=["accuracy"])
        if accelerated:
            keras_dawn.accelerate(model)
        weights = np.linspace(0, 1, 8)[::-1]
        logs = model.train_on_batch(X[::-1], targets, sample_weight=weights)
        found.append([*logs, *model.test_on_batch(X, targets), *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Combines(keras.Model):
    """Only combines layers; of two inputs."""

    def __init__(self):
        super().__init__()
        self.dense, self.other = layers.Dense(3), layers.Dense(3)

    def build(self, shapes):
        self.dense.build(shapes[0])
        self.other.build(shapes[1])

    def call(self, inputs):
        one, other = inputs
        return self.dense(one) + self.other(other)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_a_call_that_only_combines_layers_is_whole_on_arrays_too(dtype):
    x = [(4 * X).astype(dtype), (4 * X[::-1]).astype(dtype)]
    found = []
    for accelerated in (False, True):
        keras.utils.set_random_seed(0)
        model = Combines()
        model.build([(None, 4), (None, 4)])
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        if accelerated:
            keras_dawn.accelerate(model)
        losses = [model.train_on_batch(x, CLASSES), model.test_on_batch(x, CLASSES)]
        found.append([*losses, model.predict_on_batch(x), *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert keras_dawn.explain(model).is_whole()
