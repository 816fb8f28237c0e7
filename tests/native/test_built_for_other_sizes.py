"""Graphs built for the sizes of one call, as a `Sequential` without `Input`, on others."""

import keras_dawn

import keras
import numpy as np
import pytest
import torch
from keras import layers, ops


class Center(layers.Layer):
    """Gives wrong numbers, and no error, where the size of another batch is taken for its own."""

    def call(self, x):
        return x - ops.sum(x, 0, keepdims=True) / ops.cast(ops.shape(x)[0], x.dtype)


class Halves(layers.Layer):
    def call(self, x):
        samples, width = ops.shape(x)
        return ops.reshape(ops.reshape(x, (samples, 2, width // 2)), (samples, width))


class Counted(layers.Layer):
    """A layer that is called as it is: its Python does more than compute."""

    calls = 0

    def call(self, x):
        Counted.calls += 1
        return x + 1.0


class Block(layers.Layer):
    """keras.io's way to write a part of a transformer: layers in a `Sequential` without `Input`."""

    def __init__(self, *inside):
        super().__init__()
        self.inside = keras.Sequential(list(inside))

    def call(self, x):
        return self.inside(x) * 2.0


class Own(keras.Model):
    def __init__(self, *inside):
        super().__init__()
        self.inside = keras.Sequential(list(inside))

    def call(self, x):
        return self.inside(x)


def functional(*inside):
    inputs = keras.Input((4,))
    return keras.Model(inputs, Block(*inside)(inputs))


def fixed_batch(*inside):
    inputs = keras.Input(batch_shape=(8, 4))
    return keras.Model(inputs, keras.Sequential(list(inside))(inputs))


def sequential(*inside):
    return keras.Sequential(list(inside))


def trained(model):
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(23, 4)), generator.normal(size=(23, 3))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    # The last batch of each epoch has seven samples, not eight.
    history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0).history["loss"]
    return [np.asarray(history), model.predict(x, batch_size=9, verbose=0), *model.get_weights()]


def both_ways(make):
    found = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        model = make()
        if accelerate:
            keras_dawn.accelerate(model)
        found.append(trained(model))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    return model


@pytest.mark.parametrize("make", [Own, Block, functional, fixed_batch, sequential])
@pytest.mark.parametrize("kind", [Center, Halves, Counted])
def test_a_last_batch_of_another_size_trains_as_in_plain_keras(make, kind):
    if make is Block:
        make = lambda *inside: sequential(Block(*inside))  # noqa: E731
    model = both_ways(lambda: make(layers.Dense(8, "tanh"), kind(), layers.Dense(3)))
    found = keras_dawn.explain(model)
    if kind is Counted:
        assert "Python of its own" in str(found)
    else:
        assert not found.fallbacks


def test_layers_behind_one_that_is_called_as_it_is_know_no_sizes_of_another_batch():
    make = lambda: sequential(  # noqa: E731
        layers.Dense(8), Counted(), layers.LayerNormalization(), Center(), layers.Dense(3)
    )
    both_ways(make)


@pytest.mark.parametrize("length", [7, 8, 9])
@pytest.mark.parametrize("kind", [layers.AveragePooling1D, layers.MaxPooling1D])
def test_a_graph_inside_is_no_longer_than_what_it_is_called_with(kind, length):
    # Keras pads an average pooling by the length, which is another one than the inner graph's.
    inner = keras.Sequential([keras.Input((8, 2)), kind(3, strides=2, padding="same")])
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, inner(inputs))
    x = np.random.default_rng(0).normal(size=(2, length, 2)).astype("float32")
    expected = model.predict(x, verbose=0)
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        keras_dawn.to_torch(model)(keras.ops.convert_to_tensor(x)).detach(),
        expected,
        rtol=1e-6,
        atol=1e-6,
    )


def test_a_sequential_inside_a_layer_is_native_for_any_length():
    inputs = keras.Input((None,), dtype="int32")
    x = Block(layers.Dense(6, "relu"), layers.Dense(4))(layers.Embedding(9, 4)(inputs))
    model = keras.Model(inputs, layers.GlobalAveragePooling1D()(x))
    words = [np.random.default_rng(0).integers(0, 9, (3, length)) for length in (5, 11)]
    expected = [model.predict(x, verbose=0) for x in words]
    keras_dawn.accelerate(model)
    for x, other in zip(words, expected, strict=True):
        np.testing.assert_allclose(model.predict(x, verbose=0), other, rtol=1e-5, atol=1e-6)
    assert keras_dawn.explain(model).is_whole()


class Weighted(layers.Layer):
    """An average over the steps that a mask leaves."""

    supports_masking = True

    def call(self, x, mask=None):
        weights = ops.cast(mask, x.dtype)[:, :, None]
        return ops.sum(x * weights, 1) / (ops.sum(weights, 1) + ops.cast(ops.shape(x)[0], x.dtype))

    def compute_mask(self, inputs, mask=None):
        return None


def test_masks_come_with_the_sizes_of_another_batch():
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 5, (11, 6)), generator.normal(size=(11, 2))
    found = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        inside = layers.Embedding(5, 4, mask_zero=True), layers.LSTM(4, return_sequences=True)
        model = keras.Sequential([*inside, Weighted(), layers.Dense(2)])
        model.compile(keras.optimizers.SGD(0.1), "mse")
        if accelerate:
            keras_dawn.accelerate(model)
        history = model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0).history
        found.append([*history["loss"], *model.get_weights()])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


class Listed(layers.Layer):
    """Called as it is, and what it returns is a list of one."""

    calls = 0

    def call(self, x):
        Listed.calls += 1
        return [x * 2.0]


def test_a_list_of_one_tensor_of_a_layer_that_is_called_as_it_is():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(3)(Listed()(inputs)[0]))
    x = np.ones((3, 4), "float32")
    expected = model.predict(x, verbose=0)
    module = keras_dawn.to_torch(model)
    np.testing.assert_allclose(module(keras.ops.convert_to_tensor(x)).detach(), expected, 1e-6)
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-6)


def test_a_list_of_one_tensor_of_an_operation_without_a_rule():
    inputs = keras.Input((4,))
    (whole,) = keras.ops.array_split(inputs, 1, axis=1)
    model = keras.Model(inputs, layers.Dense(3)(whole))
    x = np.ones((3, 4), "float32")
    expected = model.predict(x, verbose=0)
    assert "keras_array_split" in keras_dawn.to_torch(model).code
    keras_dawn.accelerate(model)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-6)


def fixed_length():
    inputs = keras.Input((6, 4))
    return keras.Model(inputs, layers.Dense(3)(Weighted()(inputs, mask=inputs[..., 0] > 0)))


def masked_length():
    inputs = keras.Input((6, 4))
    return keras.Model(inputs, layers.LSTM(3)(layers.Dense(4)(inputs)))


def words_of_any_length(inner):
    words = keras.Input((None,), dtype="int32")
    return keras.Model(words, inner(layers.Embedding(5, 4, mask_zero=True)(words)))


class OwnOfWords(keras.Model):
    def __init__(self, inner):
        super().__init__()
        self.words, self.inner = layers.Embedding(5, 4, mask_zero=True), inner

    def call(self, words):
        return self.inner(self.words(words))


@pytest.mark.filterwarnings("ignore:.*with a mask attached")  # the model inside
@pytest.mark.parametrize("make", [words_of_any_length, OwnOfWords])
@pytest.mark.parametrize("inside", [fixed_length, masked_length])
def test_a_model_inside_refuses_other_sizes_than_it_says(make, inside):
    words = np.random.default_rng(0).integers(0, 5, (7, 6))
    keras.utils.set_random_seed(0)
    model = make(inside())
    expected = model.predict(words, batch_size=4, verbose=0)
    keras_dawn.accelerate(model)
    for _ in range(2):
        found = model.predict(words, batch_size=4, verbose=0)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match=r"shape.*\(None, 6, 4\)"):
            model.predict(words[:, :3], verbose=0)


def test_a_module_of_torch_s_says_which_sizes_a_model_inside_takes():
    inputs = keras.Input((None, 4))
    x = keras.Input((6, 4), name="inside")
    inner = keras.Model(x, layers.Dense(3)(x), name="six_steps")
    module = keras_dawn.to_torch(keras.Model(inputs, inner(inputs)))
    assert module(torch.ones(2, 6, 4)).shape == (2, 6, 3)
    with pytest.raises(ValueError, match=r"six_steps is for inputs of shape \(None, 6, 4\)"):
        module(torch.ones(2, 5, 4))
