"""Products and extremes of masked series: what either side masks is left out, as in Keras."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops

from tests.native.trained import assert_trains_alike

RANDOM = np.random.default_rng(0)
TOKENS = RANDOM.integers(1, 9, (3, 8, 6)) * (RANDOM.random((3, 8, 6)) > 0.4)  # with holes
TOKENS[:, -1] = 0  # a sequence that is masked throughout
TOKENS[0, -2] = 0
TARGETS = RANDOM.normal(size=(8, 6, 4))


def embedded(masked=True):
    start = keras.initializers.RandomNormal(stddev=1.0, seed=1)
    return layers.Embedding(9, 4, start, mask_zero=masked)


def both_masked(merge, tokens):
    embedding = embedded()
    return merge([embedding(one) for one in tokens[:2]])


def three_masked(merge, tokens):
    return merge([embedded()(one) for one in tokens])


def one_masked(merge, tokens):
    return merge([embedded(one is tokens[1])(one) for one in tokens])


def twice(merge, tokens):
    first, second, third = (embedded()(one) for one in tokens)
    return type(merge)()([merge([first, second]), third])


def of_recurrent_series(merge, tokens):
    # A Bidirectional layer's mask is known at run time.
    series = layers.Bidirectional(layers.GRU(2, return_sequences=True))(embedded()(tokens[0]))
    return merge([series, embedded()(tokens[1])])


def of_a_convolution_and_a_masked_gate(merge, tokens):
    series = layers.Conv1D(4, 3, padding="same")(embedded(False)(tokens[0]))
    return merge([series, embedded()(tokens[1])])


def of_other_ranks(merge, tokens):
    gate = layers.GlobalMaxPooling1D()(embedded(False)(tokens[0]))
    return merge([gate, embedded()(tokens[1])])


def of_integers(merge, tokens):
    merged = merge([layers.Masking()(ops.expand_dims(one, -1)) for one in tokens[:2]])
    return ops.cast(merged, keras.config.floatx())


LAYOUTS = [
    both_masked, three_masked, one_masked, twice, of_recurrent_series,
    of_a_convolution_and_a_masked_gate, of_other_ranks, of_integers,
]  # fmt: skip


def model_of(layout, merging):
    def build():
        tokens = [keras.Input((6,), dtype="int32") for _ in range(3)]
        model = keras.Model(tokens, layers.Dense(4)(layout(merging(), tokens)))
        model.compile(keras.optimizers.SGD(0.1), "mse", weighted_metrics=["mse"])
        return model

    return build


@pytest.mark.filterwarnings("ignore:(?s).*was passed an input with a mask")
@pytest.mark.parametrize(
    ("merging", "layout"),
    [
        *((layers.Multiply, layout) for layout in LAYOUTS),
        *((layers.Maximum, layout) for layout in LAYOUTS[1:4]),
        (layers.Maximum, of_integers),
        *((layers.Minimum, layout) for layout in LAYOUTS[:3]),
    ],
)
def test_masked_values_are_left_out_as_in_plain_keras(merging, layout, true_float64):
    explanation = assert_trains_alike(
        model_of(layout, merging), list(TOKENS), TARGETS, 1e-10, steps=4
    )
    assert not explanation.fallbacks


@pytest.mark.parametrize("merging", [layers.Multiply, layers.Maximum, layers.Minimum])
def test_in_mixed_precision_too(merging):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = model_of(of_recurrent_series, merging)()
    finally:
        keras.config.set_dtype_policy("float32")
    expected = model.predict(list(TOKENS), verbose=0)
    keras_dawn.accelerate(model)
    found = model.predict(list(TOKENS), verbose=0)
    np.testing.assert_allclose(found, expected, atol=0.02)


def test_the_generated_code_names_the_masks():
    code = keras_dawn.to_torch(model_of(three_masked, layers.Multiply)()).code
    assert "product_of_unmasked" in code
