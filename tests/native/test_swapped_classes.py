"""The class that a layer has within a step passes for its own: to Keras, to copies, to Python."""

import copy
import pickle

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
from keras import layers

X, Y = np.ones((12, 4), "float32"), np.ones((12, 3), "float32")


@keras.saving.register_keras_serializable("of_these_tests")
class Counting(layers.Layer):
    count = 0

    def call(self, inputs):
        type(self).count += 1
        return 2.0 * inputs


class Looking(keras.Model):
    """Calls a function of the network in a step of its own."""

    def __init__(self, network, look):
        super().__init__()
        self.network, self.look = network, look

    def call(self, inputs):
        return self.network(inputs)

    def train_step(self, data):
        logs = super().train_step(data)
        self.look(self.network)
        return logs


def network():
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(4, "relu"), Counting(), layers.Dense(3)]
    )


def kinds(model):
    return [type(each) for each in model.layers]


def seen(look):
    found = []
    model = Looking(network(), lambda network: found.append(look(network)))
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    model.fit(X, Y, batch_size=6, verbose=0)
    assert engine_of(model).is_native()
    return found[-1], model.network


@pytest.mark.parametrize(
    "copied",
    [
        keras.models.clone_model,
        copy.deepcopy,
        lambda model: pickle.loads(pickle.dumps(model)),
        lambda model: type(model).from_config(model.get_config()),
        lambda model: keras.models.model_from_json(model.to_json()),
    ],
)
def test_copies_that_a_step_makes_are_of_the_layers_own_classes(copied):
    found, original = seen(copied)
    assert kinds(found) == kinds(original) and type(found) is keras.Sequential
    assert all(kind is known for kind, known in zip(kinds(found), kinds(original), strict=True))


def test_what_a_step_saves_can_be_loaded(tmp_path):
    _, original = seen(lambda model: model.save(tmp_path / "model.keras"))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert kinds(loaded) == kinds(original)


def test_a_class_within_a_step_passes_for_the_layers_own():
    def look(model):
        dense = model.layers[0]
        kind = type(dense)
        outside = layers.Dense(2)
        known = {layers.Dense: "dense"}
        same = dense.__class__ is layers.Dense and kind == layers.Dense and kind in known
        made = type(kind(3)) is layers.Dense
        return kind is not layers.Dense and same and made and isinstance(outside, kind)

    assert seen(look)[0]


def test_a_count_in_a_class_of_the_users_in_a_graph():
    counts = []
    for native in (True, False):
        model = network()
        model.compile("sgd", "mse")
        if native:
            keras_dawn.accelerate(model)
        Counting.count = 0
        model.fit(X, Y, batch_size=4, epochs=2, verbose=0)
        counts.append(Counting.count)
    assert counts[0] == counts[1] > 5
