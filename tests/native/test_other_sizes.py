"""A `Sequential` that is called with other sizes than it was built for, as with growing images."""

import keras_dawn
from keras_dawn.native.accelerate import engine_of

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch

SIZES = 8, 12, 9, 8


def network(*first):
    return keras.Sequential(
        [
            *first,
            layers.Conv2D(4, 3, padding="same", activation="relu"),
            layers.BatchNormalization(),
            layers.AveragePooling2D(3, 2, padding="same"),
            layers.Conv2D(4, 3, strides=2, padding="same"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )


class Around(keras.Model):
    """Python that is not lowered, around such a model."""

    calls = 0

    def __init__(self):
        super().__init__()
        self.network = network()

    def call(self, x, training=None):
        Around.calls += 1
        return self.network(x, training=training)


class AroundOne(Around):
    def __init__(self, layer):
        super().__init__()
        self.network = keras.Sequential([layer])


def trained(model):
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse", weighted_metrics=["mae"])
    generator, found = np.random.default_rng(0), []
    for size in SIZES:
        x, y = generator.normal(size=(10, size, size, 3)), generator.normal(size=(10, 3))
        history = model.fit(x, y, batch_size=4, shuffle=False, verbose=0).history
        found += [*history["loss"], *history["mae"], model.predict(x, verbose=0)]
        found.append(model.evaluate(x, y, batch_size=4, verbose=0))
    return [*found, *model.get_weights()]


def follows(make):
    keras.utils.set_random_seed(0)
    expected = trained(make())
    keras.utils.set_random_seed(0)
    model = keras_dawn.accelerate(make())
    for one, other in zip(trained(model), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    return model


@pytest.mark.parametrize("first", [(), (keras.Input((8, 8, 3)),)])
def test_growing_images_keep_a_sequential_whole(first, caplog):
    model = follows(lambda: network(*first))
    assert engine_of(model).is_graph()
    assert keras_dawn.explain(model).is_whole()


def test_growing_images_keep_one_native_inside_python_of_ones_own():
    model = follows(Around)
    assert not engine_of(model).is_graph()
    lowerings = [part.lowerings for part in engine_of(model).steps.forward.layers.parts]
    modes = {(key[0], key[1]) for each in lowerings for key in each._entries if each.is_graph}
    assert modes == {(mode, shapes) for mode in (False, True) for shapes in ((), OPEN)}


OPEN = ((None, None, None, 3),)


def test_a_batch_that_keras_refuses_opens_no_further_sizes():
    model = keras_dawn.accelerate(Around())
    model.compile("sgd", "mse")
    for size, channels in ((8, 3), (9, 4), (12, 3), (12, 4), (9, 3)):
        x = np.ones((4, size, size, channels))
        if channels == 3:
            model.fit(x, np.ones((4, 3)), verbose=0)
            continue
        with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 3"):
            model.fit(x, np.ones((4, 3)), verbose=0)
    lowerings = [part.lowerings for part in engine_of(model).steps.forward.layers.parts]
    shapes = {key[1] for each in lowerings for key in each._entries if each.is_graph}
    assert shapes == {(), OPEN}


def test_explain_still_says_how_loss_and_optimizer_go_after_a_batch_of_another_size():
    model = keras_dawn.accelerate(network())
    model.compile("sgd", "mse", metrics=["mae"])
    model.fit(np.ones((4, 8, 8, 3)), np.ones((4, 3)), verbose=0)
    before = keras_dawn.explain(model)
    assert before.loss == before.metrics == before.optimizer == "native"
    weights = model.get_weights()
    model.predict(np.ones((4, 9, 9, 3)), verbose=0)
    assert str(keras_dawn.explain(model)) == str(before)
    assert all(map(np.array_equal, weights, model.get_weights()))
    model.compile("sgd", "mae")
    assert keras_dawn.explain(model).optimizer is None  # no batch has come since


class Counted(layers.Layer):
    """A layer that is called as it is: nobody knows the sizes of what it returns."""

    calls = 0

    def call(self, x):
        Counted.calls += 1
        return x * 1.0


@pytest.mark.parametrize("first", [(), (Counted,)])
def test_what_keras_refuses_of_other_sizes_is_refused(first):
    # The weights of this activation are for the pixels of one size.
    make = lambda: keras.Sequential(  # noqa: E731
        [
            *[kind() for kind in first],
            layers.PReLU(shared_axes=[1]),
            layers.Conv2D(2, 3, padding="same"),
            layers.GlobalMaxPooling2D(),
        ]
    )
    for accelerate in (False, True):
        model = make()
        model.compile("sgd", "mse")
        if accelerate:
            keras_dawn.accelerate(model)
        model.fit(np.ones((4, 5, 1, 3)), np.ones((4, 2)), verbose=0)
        with pytest.raises(ValueError, match="incompatible with the layer|is for inputs of shape"):
            model.fit(np.ones((4, 5, 5, 3)), np.ones((4, 2)), verbose=0)
        # And what comes after that goes on as before.
        model.fit(np.ones((4, 5, 1, 3)), np.ones((4, 2)), verbose=0)


def test_layers_behind_one_that_is_called_as_it_is_stay_in_the_graph():
    model = follows(lambda: keras.Sequential([Counted(), network(), layers.Dense(3)]))
    assert engine_of(model).is_graph()
    assert [kind for _, kind, _ in keras_dawn.explain(model).fallbacks] == ["Counted"]


class Reversed(layers.Layer):
    """Asks a batch for its sizes, so graphs that it is in are lowered for those of each."""

    def call(self, x):
        return ops.take(x, ops.shape(x)[1] - 1 - ops.arange(ops.shape(x)[1]), axis=1)


def test_a_model_inside_refuses_the_sizes_of_a_batch():
    inputs = keras.Input((6, 4))
    inside = keras.Model(inputs, layers.Dense(3)(inputs))
    model = keras.Sequential([Reversed(), inside])
    x = np.random.default_rng(0).normal(size=(2, 6, 4))
    expected = model.predict(x, verbose=0)
    keras_dawn.accelerate(model)
    for _ in range(2):
        np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match=r"shape.*\(None, 6, 4\)"):
            model.predict(x[:, :5], verbose=0)


@pytest.mark.parametrize("make", [lambda layer: keras.Sequential([layer]), AroundOne])
@pytest.mark.filterwarnings("ignore:`build..` was called")  # which plain Keras shows too
def test_a_convolution_over_time_takes_images_of_the_sizes_that_it_was_built_for(make):
    model = make(layers.ConvLSTM1D(2, 3))
    x = np.random.default_rng(0).normal(size=(2, 5, 8, 3))
    model(x)
    expected = [model.predict(x[:, :steps], verbose=0) for steps in (4, 5)]
    keras_dawn.accelerate(model)
    for _ in range(2):
        for steps, other in zip((4, 5), expected, strict=True):
            found = model.predict(x[:, :steps], verbose=0)
            np.testing.assert_allclose(found, other, rtol=1e-5, atol=1e-6)
        with pytest.raises(ValueError, match="incompatible with the layer"):
            model.predict(x[:, :, :7], verbose=0)


def test_to_torch_says_the_sizes_that_it_knows():
    model = network()
    model(np.ones((2, 8, 8, 3), "float32"))
    x = torch.ones(3, 8, 8, 3)
    found = keras_dawn.to_torch(model)(x)
    torch.testing.assert_close(found, model(x))
