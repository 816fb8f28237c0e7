"""Layers of one's own that read masks of what the layers inside them return."""

import keras_dawn

import keras
import numpy as np
import pytest
from keras import layers, ops
from keras.src.backend import get_keras_mask, set_keras_mask

from tests.on_device import torch


class Tokens(layers.Layer):
    """KerasHub's way: the mask is set by hand on a sum."""

    def __init__(self, kind):
        super().__init__()
        self.tokens, self.supports_masking = kind(9, 8, mask_zero=True), True
        self.positions = Positions()

    def call(self, x):
        tokens = self.tokens(x)
        found = tokens + self.positions(tokens)
        mask = get_keras_mask(tokens)
        if mask is not None:
            set_keras_mask(found, mask)
        return found


class Positions(layers.Layer):
    """Supports no masks, and is handed one."""

    def build(self, shape):
        self.table = self.add_weight(shape=(128, shape[-1]), name="table")

    def call(self, x):
        _, length, width = ops.shape(x)
        table = ops.convert_to_tensor(self.table)
        return ops.broadcast_to(ops.slice(table, (0, 0), (length, width)), ops.shape(x))


class Scaled(layers.Layer):
    """Supports no masks, and its output is one without a mask."""

    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(8,), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


class Encoder(layers.Layer):
    """Reads its input's mask before, and after, the attention takes it off."""

    def __init__(self, after=False):
        super().__init__()
        self.attention, self.supports_masking = layers.MultiHeadAttention(2, 4), True
        self.after = after

    def build(self, shape):
        self.attention.build(shape, shape)

    def call(self, x):
        mask = None if self.after else get_keras_mask(x)
        mask = None if mask is None else ops.cast(mask, "int32")[:, None]
        attended = self.attention(x, x, attention_mask=mask)
        mask = get_keras_mask(x if self.after else attended)
        if mask is not None:
            return x + attended * ops.cast(mask, x.dtype)[..., None]
        return x + attended


class Around(layers.Layer):
    """Reads a mask that an attention further inside has taken off."""

    def __init__(self):
        super().__init__()
        self.encoder, self.supports_masking = Encoder(), True

    def build(self, shape):
        self.encoder.build(shape)

    def call(self, x):
        found = self.encoder(x)
        return found if get_keras_mask(x) is None else found * 3.0


class TakesMask(layers.Layer):
    """Reads its mask by name, and supports none."""

    def __init__(self):
        super().__init__()
        self.scale = self.add_weight(shape=(8,), initializer="ones", name="scale")

    def call(self, x, mask=None):
        return x if mask is None else x * self.scale * ops.cast(mask, x.dtype)[..., None]


class HandsOn(layers.Layer):
    """Returns its input outside training, whose mask stays although it supports none."""

    def call(self, x, training=None):
        return x * 2.0 if training else x


CASES = {
    "set by hand": lambda x: Tokens(layers.Embedding)(x),
    "set by hand, reversible": lambda x: Tokens(layers.ReversibleEmbedding)(x),
    "encoder": lambda x: Encoder()(Tokens(layers.ReversibleEmbedding)(x)),
    "after": lambda x: Encoder(after=True)(layers.Embedding(9, 8, mask_zero=True)(x)),
    "further inside": lambda x: Around()(layers.Embedding(9, 8, mask_zero=True)(x)),
    "by name": lambda x: TakesMask()(layers.Embedding(9, 8, mask_zero=True)(x)),
    "unsupported": lambda x: Scaled()(layers.Embedding(9, 8, mask_zero=True)(x)),
    "handed on": lambda x: HandsOn()(layers.Embedding(9, 8, mask_zero=True)(x)),
}


def model_of(case, length, dtype):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    inputs = keras.Input((length,), dtype="int32")
    x = layers.GlobalAveragePooling1D()(CASES[case](inputs))
    model = keras.Model(inputs, layers.Dense(3)(x))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


@pytest.mark.filterwarnings("ignore:Layer '.*was passed an input with a mask")
@pytest.mark.parametrize("length", [None, 6])
@pytest.mark.parametrize("case", CASES)
def test_masks_are_those_of_plain_keras(case, length, true_float64):
    generator = np.random.default_rng(0)
    x, y = generator.integers(1, 9, (24, 6)), generator.normal(size=(24, 3))
    x[:, 4:] = 0
    x[::3, 2:] = 0
    results = []
    for accelerate in (False, True):
        model = model_of(case, length, "float64")
        if accelerate:
            keras_dawn.accelerate(model)
        before = model.predict(x, verbose=0)
        model.fit(x, y, epochs=3, batch_size=8, shuffle=False, verbose=0)
        after = model.predict(x[:, : length or 5], verbose=0)
        results.append((before, *model.get_weights(), after))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)
    # There, which masks there are is known at run time only.
    assert bool(keras_dawn.explain(model).fallbacks) == (case == "further inside")
