"""Layers made from Keras's, with a `call` of their own that asks the class before them."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.utils.tracking import TrackedDict, TrackedList

from tests.native.own_calls import Own, build, called, close, follows, train

pytestmark = [
    pytest.mark.usefixtures("true_float64"),
    # Of layers that a `call` leaves out; plain Keras warns as ours does.
    pytest.mark.filterwarnings("ignore:Gradients do not exist"),
]


class Doubled(layers.Dense):
    def call(self, x, training=None):
        return ops.tanh(super().call(x, training=training)) * 2


class DoubledByName(layers.Dense):
    def call(self, x):
        return ops.tanh(super(DoubledByName, self).call(x)) * 2  # noqa: UP008


class Again(Doubled):
    def call(self, x, training=None):
        return super().call(x) + x


class OwnProduct(layers.Dense):
    def call(self, x):
        return ops.matmul(x, self.kernel * ops.sigmoid(self.kernel)) + self.bias


class Standardized(layers.Conv1D):
    """Keras's own example of `convolution_op`."""

    def convolution_op(self, inputs, kernel):
        mean, variance = ops.moments(kernel, axes=(0, 1), keepdims=True)
        return super().convolution_op(inputs, (kernel - mean) / ops.sqrt(variance + 1e-10))


class ByKind(Own):
    """Does with its layers what they are for."""

    def call(self, x):
        for layer in (self.dense, self.drop, self.other):
            if isinstance(layer, layers.Dropout):
                x = x * 2
            elif isinstance(layer, (keras.layers.Dense, layers.EinsumDense)):
                x = layer(x)
            x = x if isinstance(x, layers.Layer) else ops.tanh(x)
        return x


class AlwaysDropping(layers.Dropout):
    """Monte Carlo dropout, as courses write it."""

    def call(self, inputs):
        return super().call(inputs, training=True)


class InFloat32(layers.LayerNormalization):
    def call(self, x):
        return ops.cast(super().call(ops.cast(x, "float32")), self.compute_dtype)


class WithAll(Own):
    """An attribute that a text names, a property, built-in functions, any keyword arguments."""

    @property
    def factor(self):
        return self.scale * self.gain

    def build(self, shape):
        Own.build(self, shape)
        self.gain = self.add_weight(shape=(shape[-1],), initializer="ones")
        self.step_0, self.step_1 = self.dense, self.other

    def call(self, inputs, **settings):
        if isinstance(inputs, (list, tuple)):
            inputs = inputs[0]
        for number in range(2):
            inputs = ops.tanh(getattr(self, f"step_{number}")(inputs))
        part = slice(None, round(settings.get("share", 1.0) * ops.shape(inputs)[1]))
        if any(size == 3 for size in self.nested):
            inputs = inputs + 1
        return self.inner(inputs, **settings) * self.factor + ops.mean(inputs[:, part])

    def inner(self, x, share=None):
        return x if share is None else x * share


class ByNames(Own):
    """Layers by names that are made or constant, and kinds of attributes that are asked."""

    def build(self, shape):
        Own.build(self, shape)
        self.d_0, self.d_1 = self.dense, self.other

    def call(self, x):
        for number in range(2):
            x = ops.tanh(getattr(self, "d_" + str(number))(inputs=x))
        if isinstance(self.dense, layers.Dense) and not isinstance(self.scale, (int, str)):
            x = x * self.scale
        return getattr(self, "dense")(x)  # noqa: B009


class WithListsOfWeights(Own):
    """As a deep and cross network has them."""

    def build(self, shape):
        Own.build(self, shape)
        made = [self.add_weight(shape=(shape[-1],), initializer="uniform") for _ in range(4)]
        self.crosses, self.biases = made[:2], {"a": made[2], "b": (made[3], 2)}

    def call(self, x):
        first = x
        for weight in self.crosses:
            x = first * ops.sum(x * weight, -1, keepdims=True) + x
        return self.dense(x) + self.biases["a"] * self.biases["b"][0] * self.biases["b"][1]


class Merging(Own):
    """As "Hands-On Machine Learning" writes wide and deep models."""

    def call(self, x):
        both = layers.concatenate([self.dense(x), layers.add([x, self.other(x)])])
        return layers.average([both, both])


@pytest.mark.parametrize(
    "layer",
    [
        ByNames,
        WithListsOfWeights,
        Merging,
        lambda: Doubled(8),
        lambda: DoubledByName(8),
        lambda: Again(8, activation="relu"),
        lambda: OwnProduct(8),
        lambda: Standardized(8, 3, padding="causal", activation="gelu"),
        lambda: AlwaysDropping(0.25),
        lambda: AlwaysDropping(0.25, seed=3),
        lambda: InFloat32(),
        WithAll,
        ByKind,
    ],
    ids=[
        "names",
        "lists",
        "merging",
        "call",
        "class named",
        "twice",
        "kernel",
        "convolution_op",
        "dropout",
        "seed",
        "cast",
        "all",
        "kinds",
    ],
)
@pytest.mark.parametrize("subclassed", [False, True])
def test_a_call_that_asks_keras_s_class_is_native(layer, subclassed):
    assert called(follows(layer, subclassed)) == []


class Recording(layers.Dense):
    def call(self, x):
        self.add_loss(ops.mean(x))
        return super().call(x)


class AddsAsBase(layers.Dense):
    def call(self, x):
        super().add_loss(ops.mean(x))
        return super().call(x)


class Counting(layers.BatchNormalization):
    def call(self, x, training=None):
        return ops.tanh(super().call(x, training=training))


class ByAnyName(Own):
    def call(self, x):
        return getattr(self, "dense" if ops.shape(x)[1] == 6 else "other")(x) * self.unsteady

    @property
    def unsteady(self):
        self.calls += 1
        return self.calls


class Scaling(layers.Layer):
    def __init__(self):
        super().__init__()
        self.scale = 2.0

    def call(self, x):
        return x


class AsksInner(Own):
    """A function inside `call` with a `self` of its own."""

    def __init__(self):
        super().__init__()
        self.inner = Scaling()

    def call(self, x):
        def scale(self):
            return self.scale

        return self.dense(x) * scale(self.inner)


def test_a_function_inside_that_calls_another_layer_self_reads_that_layer():
    def changed(accelerated):
        model = build(AsksInner)
        model = keras_dawn.accelerate(model) if accelerated else model
        found = [train(model)]
        model.layers[2].inner.scale = 5.0
        return [*found, train(model)]

    for found, expected in zip(changed(True), changed(False), strict=True):
        close(found, expected)


@pytest.mark.parametrize("layer", [Recording, AddsAsBase])
def test_a_loss_that_is_added_beside_keras_s_call_counts(layer):
    follows(lambda: layer(8))


@pytest.mark.parametrize("layer", [Counting, ByAnyName])
def test_what_keras_s_class_or_a_property_changes_is_left_to_them(layer):
    assert called(follows(layer)) == [layer.__name__]


def test_a_changed_setting_of_keras_s_class_is_followed():
    def changed(accelerated):
        model = build(lambda: Doubled(8))
        model = keras_dawn.accelerate(model) if accelerated else model
        found = [train(model)]
        model.layers[2].activation = keras.activations.softplus
        return [*found, train(model)]

    for found, expected in zip(changed(True), changed(False), strict=True):
        close(found, expected)


def test_an_attribute_that_a_text_names_is_followed():
    def changed(accelerated):
        model = build(WithAll)
        model = keras_dawn.accelerate(model) if accelerated else model
        found = [train(model)]
        model.layers[2].step_1 = model.layers[2].step_0
        return [*found, train(model)]

    for found, expected in zip(changed(True), changed(False), strict=True):
        close(found, expected)


def test_a_list_is_asked_whether_it_is_keras_s_own():
    class Asking(Own):
        def __init__(self):
            super().__init__()
            self.factors, self.table = [2.0, 3.0], {"factor": 4.0}

        def call(self, x):
            x = self.dense(x) * (2.0 if isinstance(self.factors, TrackedList) else 3.0)
            return x * (2.0 if isinstance(self.table, TrackedDict) else 3.0)

    follows(Asking)


def test_a_weight_that_a_list_has_now_is_followed():
    def changed(accelerated):
        model = build(WithListsOfWeights)
        model = keras_dawn.accelerate(model) if accelerated else model
        found = [train(model)]
        own = model.layers[2]
        own.crosses[0] = own.crosses[1]
        return [*found, train(model)]

    for found, expected in zip(changed(True), changed(False), strict=True):
        close(found, expected)


def test_layers_that_a_call_makes_get_the_dtype_policy_of_the_call():
    def changed(accelerated):
        keras.config.set_dtype_policy("float64")  # the fixture resets it in the end
        model = build(Merging)
        model = keras_dawn.accelerate(model) if accelerated else model
        found = [train(model)]
        keras.config.set_dtype_policy("mixed_bfloat16")
        return [*found, train(model)]

    for found, expected in zip(changed(True), changed(False), strict=True):
        close(found, expected)


def test_an_embedding_of_one_s_own_scales_what_keras_s_looks_up():
    class Scaled(layers.Embedding):
        def call(self, inputs):
            return super().call(inputs) * ops.sqrt(ops.cast(self.output_dim, self.compute_dtype))

    def outputs(accelerated):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((6,), dtype="int32"), Scaled(9, 4), layers.Dense(3)])
        model.compile("sgd", "mse")
        model = keras_dawn.accelerate(model) if accelerated else model
        x = np.arange(48).reshape(8, 6) % 9
        model.fit(x, np.ones((8, 6, 3)), batch_size=4, verbose=0)
        return model, model.predict(x, verbose=0)

    model, found = outputs(True)
    np.testing.assert_allclose(found, outputs(False)[1], rtol=1e-6)
    assert called(model) == []
