"""Values of which symbolic tensors have others than real ones, in Python that is noted on them."""

import functools

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.ops import shape

from tests.native.own_calls import Own, build, called, close, follows, train

pytestmark = [
    pytest.mark.usefixtures("true_float64"),
    # Of layers that a `call` leaves out; plain Keras warns as ours does.
    pytest.mark.filterwarnings("ignore:Gradients do not exist"),
]


class ByDtype(Own):
    def call(self, x):
        return self.dense(x) * {"float64": 3.0}.get(x.dtype, 1.0)


class ByDtypeLater(Own):
    def call(self, x):
        of = self.table.get
        return self.dense(x) * (2.0 if of(x.dtype) is None else 1.0)

    def build(self, shape):
        super().build(shape)
        self.table = {"float64": 1.0}


class ByText(Own):
    def call(self, x):
        text = "%s" % x.dtype  # noqa: UP031
        return self.dense(x) * len(text)


class ByWeight(Own):
    def build(self, shape):
        super().build(shape)
        self.gain = self.add_weight(shape=(8,), initializer="ones", name="gain")

    def call(self, x):
        return self.dense(x) * self.gain if self.gain.name == "gain" else x


class Told(Own):
    def call(self, x, kind=None):
        return self.dense(x) * (3.0 if kind == "float64" else 1.0)


class Tells(Own):
    def __init__(self):
        super().__init__()
        self.dense = Told()

    def call(self, x):
        return self.dense(x, kind=x.dtype)


@pytest.mark.parametrize("subclassed", [False, True])
@pytest.mark.parametrize("layer", [ByDtype, ByDtypeLater, ByText, ByWeight, Tells])
def test_what_symbols_have_others_of_decides_nothing(layer, subclassed):
    assert layer.__name__ in called(follows(layer, subclassed))


class BySize(Own):
    def call(self, x):
        return self.dense(x) * {6: 3.0}.get(ops.shape(x)[1], 1.0)


class Numbered(Own):
    def call(self, x):
        name = "step_%d" % (ops.shape(x)[2] // 8)  # noqa: UP031
        return getattr(self, name)(x) * self.table.get("gain", 2.0)

    def build(self, shape):
        super().build(shape)
        self.step_1 = self.dense


class Compares(Own):
    def call(self, x):
        return self.dense(x) * (3.0 if shape(x)[1] == 6 else 1.0)


class ComparesByFunction(Own):
    def __init__(self):
        super().__init__()
        self.sizes_of = ops.shape

    def call(self, x):
        return self.dense(x) * (3.0 if self.sizes_of(x)[1] in (5, 6) else 1.0)


def with_open_sizes(layer, accelerated):
    """A model of series of any length around a layer, and what its training gives."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 8))
    x = layers.GlobalAveragePooling1D()(layer()(layers.Dense(8)(inputs)))
    model = keras.Model(inputs, layers.Dense(3)(x))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model = keras_dawn.accelerate(model) if accelerated else model
    return model, train(model)


class ComparesInNumPy(Own):
    def call(self, x):
        return self.dense(x) * (3.0 if np.equal(x.shape[1], 6) else 1.0)


def test_a_comparison_of_numpy_s_is_made_with_the_sizes_of_the_batch():
    model, ours = with_open_sizes(ComparesInNumPy, True)
    close(ours, with_open_sizes(ComparesInNumPy, False)[1])
    assert called(model) == ["ComparesInNumPy"]


@pytest.mark.parametrize("layer", [BySize, Numbered, Compares, ComparesByFunction])
def test_sizes_that_are_looked_up_are_those_of_the_batch(layer):
    model, ours = with_open_sizes(layer, True)
    close(ours, with_open_sizes(layer, False)[1])
    assert called(model) == []


class Factor(Own):
    def call(self, x, factor=1.0):
        return self.dense(x) * (3.0 if isinstance(factor, float) else factor)


@pytest.mark.parametrize("factor", [2.0, np.float64(2.0), np.float32(2.0), 2])
def test_a_number_of_numpy_s_is_asked_for_its_kind_as_the_tensor_that_keras_makes_of_it(factor):
    def found(accelerated):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6, 8))
        x = Factor()(layers.Dense(8)(inputs), factor=factor)
        model = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return train(keras_dawn.accelerate(model) if accelerated else model)

    close(found(True), found(False))


class Drawing(Own):
    def __init__(self, function):
        super().__init__()
        self.generator, self.function = keras.random.SeedGenerator(3), function

    def call(self, x):
        return self.dense(x) + self.function((8,), seed=self.generator, dtype="float64")


@pytest.mark.parametrize("subclassed", [False, True])
def test_a_draw_of_keras_s_backend_that_was_taken_out_of_its_module_is_made_in_every_step(
    subclassed,
):
    layer = functools.partial(Drawing, keras.src.backend.random.normal)
    assert "Drawing" in called(follows(layer, subclassed))


class First(layers.Layer):
    def scaled(self, x):
        return x * 2


class Between(First):
    pass


class Last(Between):
    def call(self, x):
        return super().scaled(x)


def test_a_method_that_a_class_between_is_given_later_counts_from_then_on(monkeypatch):
    def changed(accelerated):
        model = build(Last)
        model = keras_dawn.accelerate(model) if accelerated else model
        found = [train(model)]
        with monkeypatch.context() as later:
            later.setattr(Between, "scaled", lambda self, x: x * 5, raising=False)
            return [*found, train(model)]

    for found, expected in zip(changed(True), changed(False), strict=True):
        close(found, expected)


class Sliced(Own):
    def build(self, shape):
        super().build(shape)
        self.places = self.add_weight(shape=(9, 8), initializer="random_normal", name="places")

    def call(self, x):
        return self.dense(x) + self.places[: ops.shape(x)[1]] + self.places[None, 0]


@pytest.mark.parametrize("subclassed", [False, True])
def test_a_slice_of_a_weight_is_native(subclassed):
    assert called(follows(Sliced, subclassed)) == []
