"""Attention layers against Keras's own, with every mask and setting, by graph."""

from keras_dawn.native.lowering import lower

import keras
import numpy as np
import pytest
from keras import layers

from tests.native.test_rules import assert_as_keras
from tests.native.trained import assert_trains_alike
from tests.on_device import on_processor, torch

HEADS = layers.MultiHeadAttention
GROUPS = layers.GroupQueryAttention
LENGTH, OTHER = 5, 4


def sequences(*lengths):
    random = torch.Generator().manual_seed(0)
    return [torch.randn(3, n, 6, dtype=torch.float64, generator=random) for n in lengths]


def model_of(function, *lengths):
    """A model of sequences `(length, 6)`, with a layer before and after the function."""
    inputs = [keras.Input((length, 6)) for length in lengths]
    before = [layers.Dense(6, name=f"before{n}")(x) for n, x in enumerate(inputs)]
    return keras.Model(inputs, function(*before))


CALLS = {
    "self-attention": lambda x, y: HEADS(2, 3)(x, x),
    "cross-attention": lambda x, y: HEADS(2, 3, value_dim=5)(x, y),
    "with a key": lambda x, y: HEADS(2, 3)(x, y, y * 2.0),
    "key by name": lambda x, y: HEADS(2, 3)(query=x, value=y, key=y * 2.0),
    "causal": lambda x, y: HEADS(2, 3)(x, x, use_causal_mask=True),
    "causal across": lambda x, y: HEADS(2, 3)(x, y, use_causal_mask=True),
    "an attention mask": lambda x, y: HEADS(2, 3)(
        x, y, attention_mask=y[:, None, :, 0] > x[:, :, :1]
    ),
    "a mask of numbers": lambda x, y: HEADS(2, 3)(x, x, attention_mask=np.tri(LENGTH)[None]),
    "a mask and causal": lambda x, y: HEADS(2, 3)(
        x, y, attention_mask=y[:, None, :, 0] > x[:, :, :1], use_causal_mask=True
    ),
    "scores": lambda x, y: HEADS(2, 3)(x, x, return_attention_scores=True, use_causal_mask=True),
    "without bias": lambda x, y: HEADS(2, 3, use_bias=False)(x, x),
    "gate": lambda x, y: HEADS(2, 3, use_gate=True)(x, x),
    "window": lambda x, y: HEADS(2, 3, sliding_window=2)(x, x, use_causal_mask=True),
    "output shape": lambda x, y: HEADS(2, 3, output_shape=7)(x, x),
    "output of two axes": lambda x, y: layers.Reshape((LENGTH, 4))(
        HEADS(2, 3, output_shape=(2, 2))(x, x)
    ),
    "images": lambda x, y: HEADS(2, 3)(*[layers.Reshape((LENGTH, 2, 3))(x)] * 2),
    "one of two axes": lambda x, y: HEADS(2, 3, attention_axes=2)(
        *[layers.Reshape((LENGTH, 2, 3))(x)] * 2
    ),
    "groups": lambda x, y: GROUPS(3, 4, 2)(x, x),
    "groups and masks": lambda x, y: GROUPS(3, 4, 2, use_gate=True, sliding_window=3)(
        x, x, attention_mask=x[:, None, :, 0] > x[:, :, :1], use_causal_mask=True
    ),
    "groups causal": lambda x, y: GROUPS(3, 4, 1, use_bias=False)(x, x, use_causal_mask=True),
    "groups and scores": lambda x, y: GROUPS(3, 4, 4)(x, x, return_attention_scores=True),
    "dot": lambda x, y: layers.Attention()([x, y]),
    "dot with a key": lambda x, y: layers.Attention(use_scale=True)([x, y, y * 2.0]),
    "dot causal": lambda x, y: layers.Attention()(
        [x, y], use_causal_mask=True, return_attention_scores=True
    ),
    "concat": lambda x, y: layers.Attention(score_mode="concat")([x, y]),
    "concat scaled": lambda x, y: layers.Attention(True, "concat")([x, y]),
    "additive": lambda x, y: layers.AdditiveAttention()([x, y], use_causal_mask=True),
    "additive plain": lambda x, y: layers.AdditiveAttention(use_scale=False)([x, y]),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_attention_is_that_of_keras(name, true_float64, gradients_of):
    x, y = sequences(LENGTH, OTHER)
    assert_as_keras(model_of(CALLS[name], LENGTH, OTHER), x, y, gradients_of=gradients_of)


PROJECTIONS = {
    "abc,cd->abd": (LENGTH, 7), "abc,cde->abde": (LENGTH, 3, 4), "...x,xy->...y": 7,
    "abc,dcb->ad": 7, "ab...,bc->ac...": 7, "abc,dc->abd": (LENGTH, 7),
    "abc,bcd->ad": 4, "abc,ced->abde": (LENGTH, 3, 4), "abc,bd->adc": (7, 6),
}  # fmt: skip


@pytest.mark.parametrize("equation", PROJECTIONS)
@pytest.mark.parametrize("bias", ["all", "first", None])
def test_einsum_dense_of_any_equation(equation, bias, true_float64, gradients_of):
    axes = equation.split("->")[1].replace("...", "")
    axes = {"all": axes[1:] or "y", "first": axes[-1], None: None}[bias]
    shape = PROJECTIONS[equation]
    layer = layers.EinsumDense(equation, shape, bias_axes=axes, activation="tanh")
    model = keras.Sequential([keras.Input((LENGTH, 6)), layers.Dense(6), layer])
    assert_as_keras(model, *sequences(LENGTH), gradients_of=gradients_of)


@pytest.mark.filterwarnings("ignore:You passed `rms_scaling=True`")
@pytest.mark.parametrize("axis", [-1, (1, 2)])
def test_layer_normalization_by_the_deviation_alone(axis, true_float64, gradients_of):
    layer = layers.LayerNormalization(axis=axis, rms_scaling=True)
    model = keras.Sequential([keras.Input((LENGTH, 6)), layers.Dense(6), layer])
    assert_as_keras(model, *sequences(LENGTH), gradients_of=gradients_of)


def in_training(attention):
    """A small compiled model of sequences around an attention layer."""

    def build():
        x = keras.Input((LENGTH, 6))
        y = layers.LayerNormalization()(attention(layers.Dense(6)(x)))
        model = keras.Model(x, layers.Dense(2, dtype=keras.config.floatx())(y))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        return model

    return build


DROPPING = {
    "heads": lambda x: HEADS(2, 3, dropout=0.3)(x, x, use_causal_mask=True),
    "images": lambda x: layers.Flatten()(
        HEADS(2, 3, dropout=0.3)(*[layers.Reshape((LENGTH, 2, 3))(x)] * 2)
    ),
    "groups": lambda x: GROUPS(3, 4, 2, dropout=0.3)(x, x),
    "dot": lambda x: layers.Attention(dropout=0.3)([x, x]),
    "additive": lambda x: layers.AdditiveAttention(dropout=0.3)([x, x]),
    "scores too": lambda x: layers.Concatenate()(
        layers.Attention(dropout=0.3)([x, x], return_attention_scores=True)
    ),
    "scores of heads too": lambda x: (lambda outputs, scores: outputs * scores[:, 0, :, :1])(
        *HEADS(2, 3, dropout=0.3)(x, x, return_attention_scores=True)
    ),
}
X, Y = np.random.default_rng(0).normal(size=(2, 16, LENGTH, 6))


@pytest.mark.parametrize("name", DROPPING)
def test_scores_are_dropped_by_keras_s_own_draws(name, true_float64):
    build = in_training(DROPPING[name])
    y = Y[:, 0, :2] if name == "images" else Y[..., :2]
    assert not assert_trains_alike(build, X, y, 1e-10).fallbacks


def test_draws_with_a_seed_stay_with_keras(true_float64):
    build = in_training(lambda x: HEADS(2, 3, dropout=0.3, seed=1)(x, x))
    explanation = assert_trains_alike(build, X, Y[..., :2], 1e-10)
    assert "seed" in explanation.fallbacks[0][2]


@pytest.mark.parametrize(
    "attention", [lambda x: HEADS(2, 3)(x, x, use_causal_mask=True), DROPPING["heads"],
                  lambda x: GROUPS(3, 4, 2)(x, x), DROPPING["dot"]],
)  # fmt: skip
@pytest.mark.parametrize(
    "precision",
    ["mixed_bfloat16", "float32", pytest.param("mixed_float16", marks=pytest.mark.slow)],
)
def test_precision_is_that_of_keras_s_policy(attention, precision):
    keras.config.set_dtype_policy(precision)
    tolerance = {"float32": 1e-5, "mixed_float16": 1e-2, "mixed_bfloat16": 6e-2}[precision]
    steps = 20 if precision == "float32" else 4
    x, y = X.astype("float32"), Y[..., :2].astype("float32")
    explanation = assert_trains_alike(in_training(attention), x, y, tolerance, steps)
    assert not explanation.fallbacks


def test_a_rate_that_changes_is_followed():
    layer = HEADS(2, 3, dropout=0.3)
    x = keras.Input((LENGTH, 6))
    lowered = lower(keras.Model(x, layer(x, x)), training=True)
    assert lowered.reads.are_current()
    layer._dropout_layer.rate = 0.5
    assert not lowered.reads.are_current()


@on_processor
def test_flash_attention_that_there_is_not_is_keras_s_error(recwarn):
    x = keras.Input((LENGTH, 6))
    model = keras.Model(x, HEADS(2, 3, flash_attention=True)(x, x))
    assert "flash" in lower(model, training=False).fallbacks[0][1]


def test_code_is_readable():
    x = keras.Input((LENGTH, 6))
    code = lower(keras.Model(x, HEADS(2, 3, name="heads")(x, x)), training=False).module.code
    assert "scaled_dot_product_attention(" in code and "linear(" in code
    assert "self.heads_query_kernel" in code and "einsum" not in code
