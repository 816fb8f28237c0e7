"""What the user has frozen or set stays so in and after `fine_tune`."""

import keras_dawn
from keras_dawn import LayerGroups, fine_tune

import keras
import numpy as np
import pytest

from tests.plans.test_fine_tuning import arrays, model


class Block(keras.layers.Layer):
    """A layer with others inside, as people write them."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.dense = keras.layers.Dense(5, name="dense")
        self.norm = keras.layers.BatchNormalization(name="norm")

    def call(self, inputs, training=None):
        return self.norm(self.dense(inputs), training=training)


def blocks():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6,))
    inner = Block(name="second")(Block(name="first")(inputs))
    made = keras.Model(inputs, keras.layers.Dense(3, name="head")(inner))
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return made


class Weights(keras.callbacks.Callback):
    """The weights after each epoch."""

    def __init__(self):
        super().__init__()
        self.after = []

    def on_epoch_end(self, epoch, logs=None):
        self.after.append({v.path: v.numpy() for v in self.model.variables})


def same(weights, layer):
    return [np.array_equal(weights[v.path], v.numpy()) for v in layer.weights]


def tuned(made, **settings):
    x, y = arrays()
    watch = Weights()
    before = {v.path: v.numpy() for v in made.variables}
    settings = {"epochs": 1, "verbose": 0, "callbacks": [watch], **settings}
    fine_tune(made, x, y=y, batch_size=8, **settings)
    return before, watch.after


def test_a_layer_inside_another_that_is_frozen_stays_frozen():
    made = blocks()
    first, second = made.get_layer("first"), made.get_layer("second")
    first.dense.trainable = False
    before, _ = tuned(keras_dawn.accelerate(made))
    assert all(same(before, first.dense)) and not first.dense.trainable
    assert not any(same(before, second.dense)) and second.dense.trainable


def test_a_layer_inside_two_others_stays_frozen():
    class Holder(keras.layers.Layer):
        def __init__(self, inside, **settings):
            super().__init__(**settings)
            self.inside, self.own = inside, keras.layers.Dense(6)

        def call(self, inputs):
            return self.own(self.inside(inputs))

    shared, inputs = keras.layers.Dense(6), keras.Input((6,))
    inner = Holder(shared, name="second")(Holder(shared, name="first")(inputs))
    made = keras.Model(inputs, keras.layers.Dense(3)(inner))
    made.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    shared.trainable = False
    before, _ = tuned(made)
    assert all(same(before, shared)) and not shared.trainable
    assert not any(same(before, made.get_layer("second").own))


def test_batch_normalisation_inside_a_layer_is_kept_or_learns_while_the_rest_is_frozen():
    def of(batch_norm):
        made = keras_dawn.accelerate(blocks())
        return made, *tuned(made, groups=LayerGroups(batch_norm=batch_norm))

    made, before, _ = of("keep")
    second = made.get_layer("second")
    assert all(same(before, second.norm)) and not any(same(before, second.dense))
    made, before, (head_alone, _) = of("train")
    for name in ("first", "second"):
        for path in (v.path for v in made.get_layer(name).weights):
            assert np.array_equal(before[path], head_alone[path]) == ("dense" in path), path


def test_single_weights_that_are_frozen_stay_frozen():
    made = model()
    keras_dawn.models.freeze(made, "a_bn/gamma")
    made.compile("adam", made.loss)
    before, _ = tuned(made)
    scale = made.get_layer("a_bn").gamma
    assert np.array_equal(before[scale.path], scale.numpy()) and not scale.trainable
    assert not np.array_equal(before["a_bn/beta"], made.get_layer("a_bn").beta.numpy())


@pytest.mark.parametrize("make", [keras.optimizers.AdamW, keras_dawn.SGD])
def test_weights_without_decay_stay_without(make):
    optimizer = make(1.0, weight_decay=0.1)
    optimizer.exclude_from_weight_decay(var_names=["kernel"])
    made = model(optimizer)
    made.get_layer("head").bias.assign([1.0, 1.0, 1.0])
    x, y = arrays()
    # Nothing to learn from: what moves is decayed.
    fine_tune(made, 0 * x, y=y, sample_weight=np.zeros(48), epochs=1, verbose=0)
    for weight, expected in zip(made.variables, model().variables, strict=True):
        if weight.name == "kernel":
            assert np.array_equal(weight.numpy(), expected.numpy()), weight.path
    assert (made.get_layer("head").bias.numpy() < 1).all()


def test_how_the_loss_is_scaled_is_kept():
    scaled = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(1e-3), initial_scale=8.0, dynamic_growth_steps=7
    )
    made = model(scaled)
    tuned(made)
    assert (made.optimizer.initial_scale, made.optimizer.dynamic_growth_steps) == (8.0, 7)
