"""Keras's masks through lowered graphs and native layers: who reads them, who takes them off."""

import warnings

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.trained import assert_trains_alike
from tests.on_device import on_processor, torch

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(1, 9, (8, 6)) * (np.arange(6) < RANDOM.integers(1, 6, (8, 1)))
TOKENS[-1] = 0  # a sequence that is masked throughout
SERIES = RANDOM.normal(size=(8, 6, 4)) * (TOKENS > 0)[..., None]
TARGETS = RANDOM.normal(size=(8, 6, 4))


def attended(x, **settings):
    return layers.MultiHeadAttention(2, 3, **settings)(x, x)


def residual(x):
    # After the attention `x` has no mask any more: so it is in plain Keras.
    return layers.Add()([x, attended(x)])


def residual_before(x):
    return layers.Add()([layers.Dense(4)(x), attended(x)])


GRAPHS = {
    "attention": attended,
    "attention with a gate": lambda x: attended(x, use_gate=True),
    "dropout": lambda x: attended(x, dropout=0.2),
    "causal": lambda x: layers.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True),
    "window": lambda x: layers.MultiHeadAttention(2, 3, sliding_window=2)(x, x),
    "with a key": lambda x: layers.MultiHeadAttention(2, 3)(
        layers.Dense(4)(x), x, layers.Dense(4)(x)
    ),
    "groups": lambda x: layers.GroupQueryAttention(3, 4, 2)(x, x, use_causal_mask=True),
    "dot": lambda x: layers.Attention(dropout=0.1)([x, layers.Dense(4)(x)]),
    "additive": lambda x: layers.AdditiveAttention()([x, x], use_causal_mask=True),
    "residual": residual,
    "residual before": residual_before,
    "twice": lambda x: attended(layers.Dropout(0.0)(attended(x))),
    "explicit": lambda x: layers.MultiHeadAttention(2, 3)(
        x, x, attention_mask=ops.ones((1, 6, 6), "bool")
    ),
    "softmax": lambda x: layers.Softmax(axis=1)(x * 1.0),
    "without masks": lambda x: layers.LayerNormalization()(
        layers.EinsumDense("abc,cd->abd", (6, 4))(x)
    ),
}  # fmt: skip


def model_of(function, source):
    def build():
        if source == "embedding":
            tokens = keras.Input((6,), dtype="int32")
            x = layers.Embedding(9, 4, mask_zero=True)(tokens)
        else:
            tokens = keras.Input((6, 4))
            x = layers.Masking()(tokens)
        model = keras.Model(tokens, layers.Dense(4)(function(x)))
        model.compile(keras.optimizers.SGD(0.1), "mse", metrics=["mae"], weighted_metrics=["mse"])
        return model

    return build


@pytest.mark.filterwarnings("ignore:Layer '.*' .of type")
@pytest.mark.parametrize("name", GRAPHS)
def test_masked_sequences_train_as_in_plain_keras(name, true_float64):
    build = model_of(GRAPHS[name], "embedding")
    explanation = assert_trains_alike(build, TOKENS, TARGETS, 1e-10)
    assert not explanation.fallbacks


@pytest.mark.parametrize("name", ["attention", "residual", "dot"])
def test_series_with_a_masking_layer_train_as_in_plain_keras(name, true_float64):
    build = model_of(GRAPHS[name], "masking")
    assert not assert_trains_alike(build, SERIES, TARGETS, 1e-10).fallbacks


class TransformerBlock(layers.Layer):
    """As keras.io writes it; Keras hands the mask to the attention by itself."""

    def __init__(self, rate=0.1):
        super().__init__()
        self.attention = layers.MultiHeadAttention(2, 3, dropout=rate)
        self.feed_forward = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(4)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(rate) for _ in range(2)]

    def call(self, inputs):
        x = self.dropouts[0](self.attention(inputs, inputs))
        x = self.norms[0](inputs + x)
        return self.norms[1](x + self.dropouts[1](self.feed_forward(x)))


class KeepsMask(TransformerBlock):
    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, inputs, mask=None):
        # The attention takes the mask off `inputs`: the second one sees none, as in plain Keras.
        x = self.attention(inputs, inputs, use_causal_mask=True)
        return super().call(layers.add([inputs, x])) + self.attention(inputs, inputs)


class Positions(layers.Layer):
    def __init__(self):
        super().__init__()
        self.tokens = layers.Embedding(9, 4, mask_zero=True)
        self.positions = layers.Embedding(6, 4)

    def call(self, tokens):
        return self.tokens(tokens) + self.positions(ops.arange(ops.shape(tokens)[-1]))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.embedding = layers.ReversibleEmbedding(9, 4, mask_zero=True)
        self.block = KeepsMask()
        self.heads = layers.GroupQueryAttention(2, 2, 1)
        self.softmax = layers.Softmax(axis=1)

    def call(self, tokens):
        x = self.embedding(tokens)
        x = self.block(x)
        scores = self.softmax(x, mask=ops.expand_dims(tokens > 0, -1))
        x = self.heads(x, x, attention_mask=ops.ones((6, 6), "bool")) * scores
        return ops.matmul(self.embedding(x, reverse=True), ops.ones((9, 4)))


def composite(block):
    def build():
        tokens = keras.Input((6,), dtype="int32")
        x = layers.Embedding(9, 4, mask_zero=True)(tokens)
        model = keras.Model(tokens, layers.Dense(4)(block()(x)))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    return build


def of_positions():
    model = keras.Sequential([keras.Input((6,), dtype="int32"), Positions(), TransformerBlock()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def subclassed():
    model = Subclassed()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.filterwarnings("ignore:Layer '.*' .of type")
@pytest.mark.parametrize(
    "build",
    [
        composite(TransformerBlock),
        composite(KeepsMask),
        of_positions,
        # While it only asks for shapes, plain Keras looks up tokens that it has never filled in. On
        # a GPU that ends the process.
        pytest.param(subclassed, marks=on_processor),
    ],
)
@pytest.mark.parametrize("precision", ["float64", pytest.param("float32", marks=pytest.mark.slow)])
def test_layers_of_layers_train_as_in_plain_keras(build, precision, request):
    if precision == "float64":
        request.getfixturevalue("true_float64")
    explanation = assert_trains_alike(
        build, TOKENS, TARGETS, {"float64": 1e-10, "float32": 1e-5}[precision]
    )
    inner = {"MultiHeadAttention", "LayerNormalization", "Dense", "Dropout"}
    assert inner <= explanation.layers.keys()
    own = {"TransformerBlock", "KeepsMask", "Positions"}
    assert {kind for _, kind, _ in explanation.fallbacks} <= own


class Own(layers.Layer):
    """Whether its output has a mask is known when it is called: it does more than say so."""

    asked = 0

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, x):
        return x * 2.0

    def compute_mask(self, inputs, previous):
        Own.asked += 1
        return previous


@pytest.mark.filterwarnings("ignore:Layer '.*' .of type")
@pytest.mark.parametrize("source", ["embedding", "none"])
@pytest.mark.parametrize("rate", [0.0, 0.2])
def test_a_mask_that_may_not_be_there_is_asked_for_at_every_call(source, rate, true_float64):
    def build():
        if source == "embedding":
            inputs = keras.Input((6,), dtype="int32")
            x = layers.Embedding(9, 4, mask_zero=True)(inputs)
        else:
            inputs = x = keras.Input((6, 4))
        x = Own()(x)
        y = layers.MultiHeadAttention(2, 3, dropout=rate)(x, x, use_causal_mask=True)
        y = layers.GroupQueryAttention(3, 4, 1)(y, y, use_causal_mask=True)
        model = keras.Model(inputs, layers.Attention()([y, x], use_causal_mask=True))
        model.compile(keras.optimizers.SGD(0.01), "mse")
        return model

    x = TOKENS if source == "embedding" else SERIES
    explanation = assert_trains_alike(build, x, TARGETS, 1e-10)
    assert [kind for _, kind, _ in explanation.fallbacks] == ["Own"]


def test_a_mask_that_ends_is_warned_of_and_one_that_a_layer_took_off_is_not_seen(recwarn):
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(tokens)
    model = keras.Model(tokens, layers.EinsumDense("abc,cd->abd", (6, 4))(x))
    recwarn.clear()
    keras_dawn.to_torch(model)(torch.as_tensor(TOKENS))
    assert "was passed an input with a mask" in str(recwarn.pop(UserWarning).message)
    y = layers.Add()([attended(x), x])
    model = keras.Model(tokens, layers.EinsumDense("abc,cd->abd", (6, 4))(y))
    recwarn.clear()
    keras_dawn.to_torch(model)(torch.as_tensor(TOKENS))
    assert not recwarn.list


def test_a_training_shows_once_that_a_layer_ends_a_mask():
    """As plain Keras does, by the filters that Python begins with, whatever graphs are made."""
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(tokens)
    with warnings.catch_warnings(action="ignore"):
        model = keras.Model(tokens, layers.EinsumDense("abc,cd->abd", (6, 4))(Own()(x)))
    model.compile("sgd", "mse")
    keras_dawn.accelerate(model)
    x, y = np.resize(TOKENS, (10, 6)), np.zeros((10, 6, 4))
    with warnings.catch_warnings(record=True, action="default") as said:
        model.fit(x, y, batch_size=4, epochs=2, validation_data=(x, y), verbose=0)
        model.fit(x, y, batch_size=5, verbose=0)
        model.predict(x, verbose=0)
    texts = [str(one.message) for one in said if "input with a mask" in str(one.message)]
    assert texts and len(texts) == len(set(texts)), texts


def test_a_series_with_masked_places_is_normalised_as_in_plain_keras(true_float64):
    def trained(accelerated):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((5,), dtype="int32"),
                layers.Embedding(6, 3, mask_zero=True),
                layers.BatchNormalization(),
                layers.GlobalAveragePooling1D(),
                layers.Dense(3),
            ]
        )
        model.compile(keras.optimizers.SGD(0.0625), "mse")
        if accelerated:
            keras_dawn.accelerate(model)
        random = np.random.default_rng(0)
        x, y = random.integers(0, 6, (12, 5)), random.normal(size=(12, 3))
        model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
        return model.get_weights()

    torch.testing.assert_close(trained(True), trained(False), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("data_format", ["channels_last", "channels_first"])
def test_a_series_is_averaged_over_the_places_that_a_mask_leaves(data_format, true_float64):
    def trained(accelerated):
        keras.utils.set_random_seed(0)
        series, mask = keras.Input((6, 4)), keras.Input((6,), dtype="bool")
        tokens = keras.Input((6,), dtype="int32")
        words = layers.Embedding(9, 4, mask_zero=data_format == "channels_last")(tokens)
        if data_format == "channels_last":
            words = layers.GlobalAveragePooling1D(keepdims=True)(layers.Dense(4)(words))
        else:
            series = keras.Input((4, 6))
        x = layers.Flatten()(words)
        y = layers.GlobalAveragePooling1D(data_format)(series, mask=mask)
        model = keras.Model([series, mask, tokens], layers.Dense(3)(layers.Concatenate()([x, y])))
        model.compile(keras.optimizers.SGD(0.0625), "mse")
        if accelerated:
            keras_dawn.accelerate(model)
            assert keras_dawn.explain(model).layers["GlobalAveragePooling1D"] > 0
            assert not keras_dawn.explain(model).fallbacks
        random = np.random.default_rng(0)
        x = [random.normal(size=(12, *series.shape[1:])), TOKENS[:1] > 0, TOKENS[:1]]
        x[1:] = [np.repeat(each, 12, 0) for each in x[1:]]
        history = model.fit(x, random.normal(size=(12, 3)), batch_size=4, epochs=3, verbose=0)
        return [*model.get_weights(), np.array(history.history["loss"])]

    torch.testing.assert_close(trained(True), trained(False), rtol=1e-9, atol=1e-10)


def nested(supports):
    inside = keras.Sequential([layers.Dense(4), layers.LSTM(3, return_sequences=True)])
    inside.supports_masking = supports
    return inside


@pytest.mark.parametrize("supports", [False, True])
@pytest.mark.parametrize("between", [None, Own, lambda: layers.Lambda(lambda x: 2 * x)])
def test_a_nested_model_sees_masks_and_warns_of_them_as_in_plain_keras(
    between, supports, true_float64
):
    """Inside the graph, whether its input's mask is sure or known at run time only."""
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(tokens)
    with warnings.catch_warnings(action="ignore"):
        x = x if between is None else between()(x)
        model = keras.Model(tokens, nested(supports)(x))
    module, found = keras_dawn.to_torch(model), []
    assert "lstm" in module.code and "keras_sequential" not in module.code
    for call in (model, module):
        with warnings.catch_warnings(record=True, action="always") as said:
            outputs = call(torch.as_tensor(TOKENS))
        found.append((outputs, ["passed an input with a mask" in str(one.message) for one in said]))
    (expected, warned), (outputs, also) = found
    torch.testing.assert_close(outputs, expected, rtol=1e-9, atol=1e-10)
    # A `Lambda` warns itself: it ends the mask.
    warns = not supports if between in (None, Own) else True
    assert also == warned == [True] * warns


def test_a_nested_model_behind_a_lambda_is_part_of_the_graph():
    inputs = keras.Input((6, 4))
    inside = keras.Sequential([keras.Input((6, 4)), layers.Conv1D(3, 2, name="inner")])
    scaled = layers.Lambda(lambda x: x / 2 - 1)(inputs)
    module = keras_dawn.to_torch(keras.Model(inputs, inside(scaled)))
    assert "inner" in module.code


def test_whatever_a_mask_hides_is_left_out_of_an_average():
    series, mask = keras.Input((3, 2)), keras.Input((3,))
    model = keras.Model([series, mask], layers.GlobalAveragePooling1D()(series, mask=mask))
    x, weights = torch.arange(6.0).view(1, 3, 2), torch.tensor([[0.5, 0.25, 0.0]])
    x[0, 2] = torch.nan
    found = keras_dawn.to_torch(model)(x, weights)  # any number but 0 counts as one
    assert found.tolist() == model([x, weights]).tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize("dtype,causal", [("int32", False), ("float32", True)])
def test_attention_takes_masks_of_numbers(dtype, causal, true_float64):
    def build():
        query, value = keras.Input((6, 4)), keras.Input((6, 4))
        masks = [keras.Input((6,), dtype=dtype) for _ in range(2)]
        outputs = layers.Attention()([query, value], mask=masks, use_causal_mask=causal)
        model = keras.Model([query, value, *masks], layers.Dense(3)(outputs))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    masks = [(RANDOM.random((8, 6)) > 0.4).astype(dtype) for _ in range(2)]
    assert_trains_alike(build, [SERIES, TARGETS, *masks], TARGETS[..., :3], 1e-10, steps=4)


def test_scores_have_the_mask_that_they_were_made_with(true_float64):
    """So says Keras's softmax inside: a loss of the scores counts where they are not masked."""

    def build():
        x, mask = keras.Input((6, 4)), keras.Input((6, 6), dtype="bool")
        attention = layers.GroupQueryAttention(3, 1, 1, name="heads")
        outputs = attention(x, x, attention_mask=mask, return_attention_scores=True)
        model = keras.Model([x, mask], list(outputs))
        model.compile(keras.optimizers.SGD(0.1), ["mse", "mse"])
        return model

    mask = RANDOM.random((8, 6, 6)) > 0.4
    targets = [TARGETS, RANDOM.random((8, 1, 6, 1)) * np.ones((8, 1, 6, 6))]
    assert_trains_alike(build, [SERIES, mask], targets, 1e-10, steps=4)


class Counts(layers.Layer):
    """Python that is not lowered; a mask is handed on."""

    def __init__(self):
        super().__init__()
        self.calls, self.supports_masking = 0, True

    def call(self, x):
        self.calls += 1
        return x * 2.0


def test_what_keras_calls_a_layer_with_keeps_its_mask(true_float64):
    def build():
        inputs = keras.Input((6, 4))
        x = layers.GroupNormalization(2)(layers.Masking()(inputs))  # its channels come second
        product = layers.Multiply()([Counts()(x), x])  # which looks for masks at its inputs
        model = keras.Model(inputs, layers.Dense(4)(product))
        model.compile(keras.optimizers.SGD(0.001), "mse")
        return model

    explanation = assert_trains_alike(build, SERIES, TARGETS, 1e-10)
    assert [kind for _, kind, _ in explanation.fallbacks] == ["Counts", "Multiply"]


def test_attention_takes_no_mask_off_what_was_cast_for_it():
    keras.config.set_dtype_policy("mixed_bfloat16")
    tokens = keras.Input((6,), dtype="int32")
    x = layers.Embedding(9, 4, keras.initializers.RandomNormal(stddev=1), mask_zero=True)(tokens)
    wide = layers.Identity(dtype="float32")(x)  # and narrow again for the attention
    model = keras.Model(tokens, layers.Multiply()([attended(wide), x]))
    words = torch.as_tensor(TOKENS, dtype=torch.int32)
    found = keras_dawn.to_torch(model)(words)
    torch.testing.assert_close(found, model(words), rtol=0.02, atol=0.02)


@pytest.mark.parametrize("reader", ["sum", "attention"])
def test_attention_takes_the_mask_off_what_keras_called_a_layer_for(reader, true_float64):
    def build():
        tokens = keras.Input((6,), dtype="int32")
        x = Counts()(layers.Embedding(9, 4, mask_zero=True)(tokens))
        y = attended(x)
        y = layers.Add()([x, y]) if reader == "sum" else layers.Attention()([y, x])
        model = keras.Model(tokens, layers.Dense(4)(layers.GlobalAveragePooling1D()(y)))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    assert_trains_alike(build, TOKENS[:-1], TARGETS[:-1, 0], 1e-10)
