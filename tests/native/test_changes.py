"""What is changed in an accelerated model takes effect where it would in plain Keras."""

import keras_dawn
from keras_dawn import SGD, OneCycle
from keras_dawn.native.engine import engine_of

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.test_accelerate import X, Y, compiled, fit, network


def test_the_rate_tells_the_truth_and_can_be_set():
    model = keras_dawn.accelerate(network())
    seen = []

    class Spy(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            seen.append(float(self.model.optimizer.learning_rate))

    fit(model, callbacks=[OneCycle(0.2), Spy()])
    planned = OneCycle(0.2).values(2, 3)["learning_rate"]
    assert seen == pytest.approx(planned, rel=1e-6)
    model.optimizer.learning_rate = 0.0
    before = model.get_layer("conv").kernel.numpy().copy()
    fit(model, epochs=1)
    np.testing.assert_array_equal(model.get_layer("conv").kernel.numpy(), before)


def test_frozen_layers_and_a_new_compile_are_noticed():
    model = keras_dawn.accelerate(network())
    fit(model, epochs=1)
    model.get_layer("conv").trainable = False
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy")
    kernel = model.get_layer("conv").kernel.numpy().copy()
    head = model.get_layer("head").kernel.numpy().copy()
    fit(model, epochs=1)
    np.testing.assert_array_equal(model.get_layer("conv").kernel.numpy(), kernel)
    assert np.abs(model.get_layer("head").kernel.numpy() - head).max() > 0


class Thaw(keras.callbacks.Callback):
    """Freezes a layer in the second of three epochs only, at its beginning or before a batch."""

    def __init__(self, event):
        super().__init__()
        setattr(self, event, self.set)

    def set(self, *arguments, logs=None):
        epoch = int(self.model.optimizer.iterations) // 3
        self.model.get_layer("conv").trainable = epoch != 1


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_train_batch_begin"])
def test_freezing_and_thawing_in_a_callback_equals_plain_keras(event):
    plain, model = network(), keras_dawn.accelerate(network())
    for each in (plain, model):
        fit(each, epochs=3, callbacks=[Thaw(event)])
    for ours, theirs in zip(model.weights, plain.weights, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-4, atol=1e-6)
    thawed = keras_dawn.accelerate(network())
    fit(thawed, epochs=3)
    kernels = [each.get_layer("conv").kernel.numpy() for each in (model, thawed)]
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-3  # the freezing made a difference


def normalized(affine, nested):
    """A model whose normalisation `freeze_me` stands alone, or inside another model."""
    keras.utils.set_random_seed(0)
    norm = layers.BatchNormalization(
        momentum=0.7, center=affine, scale=affine, name=None if nested else "freeze_me"
    )
    if nested:
        norm = keras.Sequential([keras.Input((6, 6, 4)), norm, layers.ReLU()], name="freeze_me")
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), norm, layers.GlobalAveragePooling2D(),
         layers.Dense(5)]
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(SGD(0.05), loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize(
    "between, affine, nested",
    [("fits", False, True), ("fits", True, False), ("epochs", False, False)],
)
def test_a_normalisation_frozen_for_a_while_equals_plain_keras(
    between, affine, nested, true_float64
):
    """Without a scale and an offset, the layer's own `trainable` is all that freezing changes."""

    class Freeze(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.model.get_layer("freeze_me").trainable = epoch != 1

    def train(model):
        if between == "epochs":
            return fit(model, epochs=3, callbacks=[Freeze()])["loss"]
        losses = []
        for trainable in (True, False, True):
            model.get_layer("freeze_me").trainable = trainable
            statistics = [w.numpy().copy() for w in model.non_trainable_variables[-2:]]
            losses += fit(model, epochs=1)["loss"]
            moved = [
                not np.array_equal(old, new.numpy())
                for old, new in zip(statistics, model.non_trainable_variables[-2:], strict=True)
            ]
            assert moved == [trainable] * 2
        return losses

    plain, model = (normalized(affine, nested) for _ in range(2))
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(train(model), train(plain), rtol=1e-6)
    for ours, theirs in zip(model.variables, plain.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6, err_msg=ours.path)
    np.testing.assert_allclose(
        model.evaluate(X, Y, verbose=0), plain.evaluate(X, Y, verbose=0), rtol=1e-6
    )


def test_a_single_weight_frozen_for_a_while_equals_plain_keras(true_float64):
    def train(model):
        for trainable in (True, False, True):
            model.get_layer("norm").gamma.trainable = trainable
            gamma = model.get_layer("norm").gamma.numpy().copy()
            fit(model, epochs=1)
            assert np.array_equal(model.get_layer("norm").gamma.numpy(), gamma) != trainable
        return model.get_weights()

    for ours, theirs in zip(train(keras_dawn.accelerate(network())), train(network()), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-9)


def test_another_precision_of_a_layer_is_noticed():
    def predict(model):
        model.predict(X, verbose=0)
        model.get_layer("head").dtype_policy = "mixed_float16"
        return model.predict(X, verbose=0)

    ours, theirs = predict(keras_dawn.accelerate(network())), predict(network())
    assert ours.dtype == theirs.dtype == np.float16
    np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    "change",
    [
        lambda model: compiled(model, optimizer=keras.optimizers.Adam(0.01)),
        lambda model: compiled(
            model, optimizer=model.optimizer, loss=keras.losses.SparseCategoricalCrossentropy()
        ),
        lambda model: compiled(
            model,
            optimizer=model.optimizer,
            metrics=[keras.metrics.SparseTopKCategoricalAccuracy(2)],
        ),
        lambda model: setattr(model, "optimizer", keras.optimizers.Adam(0.01)),
    ],
    ids=["optimizer", "loss", "metrics", "optimizer without compile"],
)
def test_what_changes_between_two_fits_is_noticed(change, true_float64):
    def train(model):
        fit(model, epochs=1)
        change(model)
        return fit(model, epochs=1), model.get_weights()

    (ours, weights), (theirs, expected) = (
        train(model) for model in (keras_dawn.accelerate(network()), network())
    )
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, rtol=1e-6, err_msg=name)
    for one, other in zip(weights, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("numbers", [np.arange(3.0), [0.5, np.ones(3), 2.0]])
def test_numbers_written_into_an_array_of_a_layer_are_noticed(numbers):
    if isinstance(numbers, list):  # of which a layer's own Python reads one
        layer, array = Weighed(numbers), numbers[1]
    else:
        layer = layers.Rescaling(numbers)
        array = layer.scale
    model = keras_dawn.accelerate(keras.Sequential([keras.Input((3,)), layer]))
    inputs = np.ones((2, 3), "float32")
    np.testing.assert_allclose(model.predict(inputs, verbose=0), [array] * 2)
    steps = engine_of(model).steps
    model.predict(inputs, verbose=0)
    assert engine_of(model).steps is steps
    array[1] = 7.0
    np.testing.assert_allclose(model.predict(inputs, verbose=0), [array] * 2)


class Weighed(layers.Layer):
    def __init__(self, numbers):
        super().__init__()
        self.numbers = numbers

    def call(self, inputs):
        return inputs * keras.ops.cast(self.numbers[1], inputs.dtype)


def test_an_optimizer_is_looked_at_once_as_a_fit_begins_and_once_an_epoch(monkeypatch):
    model = keras_dawn.accelerate(network())
    fit(model, epochs=1)
    optimization, asked = engine_of(model).steps.optimization, []
    ask = optimization.is_current
    monkeypatch.setattr(optimization, "is_current", lambda: asked.append(0) or ask())
    fit(model, epochs=3)
    assert engine_of(model).steps.optimization is optimization and len(asked) == 1 + 3


class Doubled(layers.Dense):
    def call(self, inputs, training=None):
        return 2 * super().call(inputs)


def test_a_layer_that_is_given_another_class_is_noticed():
    model = keras_dawn.accelerate(keras.Sequential([keras.Input((3,)), layers.Dense(2)]))
    inputs = np.ones((2, 3), "float32")
    before = model.predict(inputs, verbose=0)
    object.__setattr__(model.layers[0], "__class__", Doubled)
    np.testing.assert_allclose(model.predict(inputs, verbose=0), 2 * before)
