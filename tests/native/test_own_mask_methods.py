"""Layers of one's own that say the masks of their outputs."""

import warnings

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.on_device import torch

WORDS = 9


class Places(layers.Layer):
    """Words and places, as tutorials write them: the mask is that of the words."""

    def __init__(self, **settings):
        super().__init__(**settings)
        self.words = layers.Embedding(WORDS, 8, mask_zero=True)
        self.places = layers.Embedding(16, 8)

    def build(self, shape):
        self.words.build(shape)
        self.places.build(())

    def call(self, x):
        return self.words(x) + self.places(ops.arange(ops.shape(x)[-1]))

    def compute_mask(self, inputs, mask=None):
        return self.words.compute_mask(inputs)


class Handed(layers.Layer):
    """Hands a mask on and reads it."""

    def __init__(self):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 4)
        self.norm = layers.LayerNormalization()

    def build(self, shape):
        self.attention.build(shape, shape)
        self.norm.build(shape)

    def call(self, x, mask=None):
        rows = None if mask is None else mask[:, None, :]
        return self.norm(x + self.attention(x, x, attention_mask=rows))

    def compute_mask(self, inputs, mask=None):
        return mask


class Stops(Handed):
    def compute_mask(self, inputs, previous_mask=None):
        return None


class Turns(layers.Layer):
    """A mask that is computed of the one before and of the numbers."""

    def call(self, x):
        return ops.flip(x, 1)

    def compute_mask(self, inputs, previous_mask):
        known = ops.any(inputs > -100.0, axis=-1)
        if previous_mask is not None:
            known = ops.logical_and(known, previous_mask)
        return ops.flip(known, 1)


class Strips(Handed):
    """Its attention takes the mask off what it is called with, of which the mask is said then."""

    def call(self, x):
        return self.norm(x + self.attention(x, x))


class Pair(layers.Layer):
    def call(self, x):
        return x + 1.0, ops.mean(x, axis=1)

    def compute_mask(self, inputs, previous_mask):
        return previous_mask, None


class Twice(layers.Layer):
    """Of one tensor's two masks Keras takes the first."""

    def call(self, x):
        y = x + 1.0
        return y, y

    def compute_mask(self, inputs, previous_mask):
        return previous_mask, ops.flip(previous_mask, 1)


class Cuts(Turns):
    """One row for all texts."""

    def compute_mask(self, inputs, previous_mask):
        return ops.cumsum(ops.ones_like(inputs[:1, :, 0]), axis=1) < 3.5


class TwiceOfBoth(layers.Layer):
    """Keras hands the masks of the two on, of which the first is none."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, both):
        y = both[0] + both[1]
        return y, y


class Silent(Places):
    """Says that it supports no masks: Keras asks for none."""

    def __init__(self):
        super().__init__()
        self.supports_masking = False


class Looked(layers.Layer):
    """Its output has the mask that the layer inside has given it."""

    def __init__(self):
        super().__init__()
        self.words = layers.Embedding(WORDS, 8, mask_zero=True)

    def build(self, shape):
        self.words.build(shape)

    def call(self, x):
        return self.words(x)


class Words(Looked):
    """Its output has a mask already, so that Keras does not ask for this one."""

    def compute_mask(self, inputs, mask=None):
        return ops.not_equal(inputs, 1)


class Reads(layers.Layer):
    """What is inside sees the mask of its input, which it hands on or not."""

    def __init__(self, hands_on, inside):
        super().__init__()
        self.supports_masking, self.inside = hands_on, inside

    def build(self, shape):
        self.inside.build(shape)

    def call(self, x):
        return self.inside(x)


class Sums(layers.Layer):
    """A sum of what has a mask and what has none has none, and so it gets the layer's."""

    def __init__(self, rate=None):
        super().__init__()
        self.supports_masking = True
        self.dense, self.add = layers.Dense(8, activity_regularizer=rate), layers.Add()

    def build(self, shape):
        self.dense.build(shape)

    def call(self, x):
        x = self.dense(x)
        return self.add([x, 2.0 * x])


class Says(Sums):
    def compute_mask(self, inputs, mask=None):
        return ops.logical_not(mask)


class Weighed(layers.Layer):
    """Takes a list of masks for its list of inputs; one may be missing."""

    def call(self, parts, mask=None):
        one, other = parts
        return one * ops.cast(mask[0][..., None], one.dtype) + other

    def compute_mask(self, inputs, mask=None):
        return mask[0]


def pooled(x):
    return layers.GlobalAveragePooling1D()(layers.LSTM(4, return_sequences=True)(x))


def of_both(one):
    return TwiceOfBoth()([ops.tanh(one), one])


MODELS = {
    "tokens": lambda x: pooled(Places()(x)),
    "handed on": lambda x: pooled(Handed()(Places()(x))),
    "stopped": lambda x: pooled(Stops()(Places()(x))),
    "computed": lambda x: pooled(Turns()(Places()(x))),
    "of a mask of Keras's": lambda x: pooled(
        Turns()(layers.Embedding(WORDS, 8, mask_zero=True)(x))
    ),
    "of no mask": lambda x: pooled(Turns()(layers.Embedding(WORDS, 8)(x))),
    "one of two": lambda x: pooled(Pair()(Places()(x))[0]),
    "one tensor twice, of two, first": lambda x: pooled(of_both(Places()(x))[0]),
    "one tensor twice, of two, second": lambda x: pooled(of_both(Places()(x))[1]),
    "one row": lambda x: pooled(Cuts()(Places()(x))),
    "one row, both ways": lambda x: layers.Bidirectional(layers.GRU(4))(Cuts()(Places()(x))),
    "silent": lambda x: pooled(Silent()(x)),
    "given in a list": lambda x: pooled(
        Weighed()([layers.Embedding(WORDS, 8)(x)] * 2, mask=[ops.not_equal(x, 0), None])
    ),
    "given by a layer inside": lambda x: pooled(Words()(x)),
    "seen inside": lambda x: Reads(False, layers.GlobalAveragePooling1D())(Places()(x)),
    "seen inside, handed on": lambda x: pooled(Reads(True, layers.Dense(4))(Places()(x))),
    "seen by two layers": lambda x: pooled(
        Reads(True, Reads(True, layers.GRU(4, return_sequences=True)))(Places()(x))
    ),
    "given inside, seen inside": lambda x: pooled(
        Reads(True, layers.GRU(4, return_sequences=True))(layers.Dropout(0.0)(Looked()(x)))
    ),
    "lost inside, handed on": lambda x: pooled(Sums()(Places()(x))),
    "lost inside, said": lambda x: pooled(Says()(Places()(x))),
}


class Whole(keras.Model):
    """A subclassed model around such layers."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = list(parts)
        self.read, self.head = layers.LSTM(4), layers.Dense(2)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        return self.head(self.read(x))


class LayerByLayer(Whole):
    """One that keeps its Python, which does more than combine its layers."""

    calls = 0

    def call(self, x):
        LayerByLayer.calls += 1
        return super().call(x)


class LayerByLayerSecond(LayerByLayer):
    def call(self, x):
        LayerByLayer.calls += 1
        places, twice = self.parts
        return self.head(self.read(twice(places(x))[1]))


class ReadsSecond(Whole):
    def call(self, x):
        places, twice = self.parts
        return self.head(self.read(twice(places(x))[1]))


class ReadsFirst(ReadsSecond):
    def call(self, x):
        places, twice = self.parts
        one = places(x)
        return self.head(self.read(twice([ops.tanh(one), one])[0]))


def model_of(name, length):
    keras.utils.set_random_seed(0)
    if name in SUBCLASSED:
        model = SUBCLASSED[name]()
        model(torch.ones(1, 6, dtype=torch.int32))
    else:
        inputs = keras.Input((length,), dtype="int32")
        model = keras.Model(inputs, layers.Dense(2)(MODELS[name](inputs)))
    model.compile(keras.optimizers.SGD(0.0625), "mse")
    return model


SUBCLASSED = {
    "subclassed": lambda: Whole(Places(), Handed(), Turns()),
    "subclassed, given inside": lambda: Whole(Words(), Sums(), Says()),
    "subclassed, given and seen inside": lambda: Whole(
        Looked(), layers.Dropout(0.0), Reads(False, layers.GRU(8, return_sequences=True))
    ),
    "subclassed, seen inside": lambda: Whole(
        Places(), Reads(True, layers.LSTM(8, return_sequences=True)), Reads(False, layers.Dense(8))
    ),
    "layer by layer": lambda: LayerByLayer(Places(), Strips(), Turns()),
    "layer by layer, inside": lambda: LayerByLayer(
        Words(), Sums(), Says(), Reads(True, layers.GRU(8, return_sequences=True))
    ),
    "one tensor twice": lambda: ReadsSecond(Places(), Twice()),
    "layer by layer, one tensor twice": lambda: LayerByLayerSecond(Places(), Twice()),
    "one tensor twice, of two": lambda: ReadsFirst(Places(), TwiceOfBoth()),
    "layer by layer, handed on": lambda: LayerByLayer(Places(), Handed(), Stops(), Turns()),
}


# A subclassed model is made for texts of any length.
CASES = [(name, length) for name in MODELS for length in (6, None)]
CASES += [(name, None) for name in SUBCLASSED]


@pytest.mark.filterwarnings("ignore:Layer '.*' .of type")
@pytest.mark.parametrize(("name", "length"), CASES)
def test_models_train_and_predict_as_in_plain_keras(name, length, true_float64):
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, WORDS, (24, 6)), generator.normal(size=(24, 2))
    x[:, 4:] *= generator.integers(0, 2, (24, 1))
    x[:, 0] = 3  # no text is empty
    results = []
    for model in (model_of(name, length), keras_dawn.accelerate(model_of(name, length))):
        model.fit(x, y, epochs=2, batch_size=8, shuffle=False, verbose=0)
        found = [model.predict(x[:5], verbose=0), model.evaluate(x, y, verbose=0)]
        if length is None:
            found.append(model.predict(x[:, :4], verbose=0))
        results.append([*model.get_weights(), *found])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-11)
    explanation = keras_dawn.explain(model)
    assert not explanation.fallbacks
    own = name in ("one tensor twice", "one tensor twice, of two")  # the model's own Python
    kept = own or name.startswith("layer by layer")
    assert bool(explanation.python) == kept, explanation


def test_a_setting_that_the_mask_depends_on_counts_when_it_changes():
    x = np.array([[1, 2, 0, 0, 0, 0], [3, 0, 4, 0, 5, 0]])
    plain, ours = model_of("subclassed", 6), keras_dawn.accelerate(model_of("subclassed", 6))
    results = []
    for model in (plain, ours):
        found = [model.predict(x, verbose=0)]
        model.parts[0].words.mask_zero = False
        found.append(model.predict(x, verbose=0))
        assert np.abs(found[1] - found[0]).max() > 1e-4
        results.append(found)
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)


class Two(Places):
    """Asks two layers of one class for masks."""

    def __init__(self):
        super().__init__()
        self.others = layers.Embedding(WORDS, 8, mask_zero=True)

    def build(self, shape):
        super().build(shape)
        self.others.build(shape)

    def compute_mask(self, inputs, mask=None):
        one, other = self.words.compute_mask(inputs), self.others.compute_mask(inputs - 4)
        return one if other is None else ops.logical_and(one, other)


def test_each_layer_that_is_asked_for_a_mask_is_looked_at():
    def build():
        model = Whole(Two())
        model(torch.ones(1, 6, dtype=torch.int32))
        model.compile("sgd", "mse")
        return model

    x = np.array([[1, 2, 4, 4, 0, 4], [3, 0, 4, 0, 5, 0]])
    plain, ours = build(), keras_dawn.accelerate(build())
    ours.set_weights(plain.get_weights())
    for model in (plain, ours):
        model.predict(x, verbose=0)
        model.parts[0].others.mask_zero = False
    np.testing.assert_allclose(*(m.predict(x, verbose=0) for m in (plain, ours)), 1e-5, 1e-6)


class Numbers(Places):
    def compute_mask(self, inputs, mask=None):
        return ops.cast(ops.not_equal(inputs, 0), "float32")


class Remembers(Places):
    asked = 0

    def compute_mask(self, inputs, mask=None):
        Remembers.asked += 1
        return ops.not_equal(inputs, 0)


@pytest.mark.parametrize("kind", [Numbers, Remembers])
def test_masks_that_are_no_masks_or_that_do_more_stay_keras_s(kind):
    results = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,), dtype="int32")
        model = keras.Model(inputs, layers.GlobalAveragePooling1D()(kind()(inputs)))
        if accelerate:
            keras_dawn.accelerate(model)
        before = Remembers.asked
        results.append(model.predict(np.arange(12).reshape(2, 6) % WORDS, verbose=0))
        if kind is Remembers:
            assert Remembers.asked > before
    np.testing.assert_allclose(*results, rtol=1e-6)
    assert keras_dawn.explain(model).fallbacks


@pytest.mark.parametrize("kind", [Sums, Says])
def test_a_mask_that_is_known_at_run_time_only_gives_way_to_the_layer_s(kind, true_float64):
    """A layer inside is called as it is, so that whether its output has a mask is not sure."""
    results = []
    for accelerate in (False, True):
        keras.utils.set_random_seed(0)
        inputs = keras.Input((6,), dtype="int32")
        x = layers.Embedding(WORDS, 8, mask_zero=True)(inputs)
        x = kind("l2")(x)
        model = keras.Model(inputs, layers.MultiHeadAttention(2, 3)(x, layers.Dense(8)(x)))
        if accelerate:
            keras_dawn.accelerate(model)
        results.append(model.predict(np.arange(12).reshape(2, 6) % WORDS, verbose=0))
    np.testing.assert_allclose(*results, rtol=1e-9)
    assert [kind for _, kind, _ in keras_dawn.explain(model).fallbacks] == ["Dense"]


@pytest.mark.parametrize("build", [keras.Sequential, lambda parts: Whole(*parts)])
def test_a_mask_that_a_layer_does_not_support_is_warned_of_as_in_plain_keras(build):
    parts = [
        layers.Embedding(WORDS, 8, mask_zero=True),
        Reads(False, layers.LSTM(8, return_sequences=True)),
    ]
    model, x = build(parts), np.array([[1, 2, 0]])
    with warnings.catch_warnings(action="ignore"):
        expected = model(x)
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    with warnings.catch_warnings(record=True, action="always") as said:
        found = model.predict(x, verbose=0)
    assert any(f"'{parts[1].name}' (of type Reads)" in str(one.message) for one in said)
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-7)
    assert not keras_dawn.explain(model).fallbacks


class Attends(Whole):
    """After the attention there is no mask any more for what reads the same tensor."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.attention = layers.MultiHeadAttention(2, 4)

    def call(self, x):
        for part in self.parts:
            x = part(x)
        y = self.attention(x, x)
        return self.head(self.read(x)) + self.head(y[:, 0, :4])


@pytest.mark.parametrize("parts", [[Places], [Looked], [Places, Sums], [Places, Turns]])
def test_attention_takes_a_mask_off_what_a_layer_returned(parts):
    keras.utils.set_random_seed(0)
    model, x = Attends(*(part() for part in parts)), np.array([[1, 2, 0, 0], [3, 4, 5, 0]])
    model(x)
    inputs = keras.Input((4,), dtype="int32")
    graph = keras.Model(inputs, model(inputs))
    expected = graph.predict(x, verbose=0)
    keras_dawn.accelerate(graph)
    np.testing.assert_allclose(graph.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    assert not keras_dawn.explain(graph).fallbacks
