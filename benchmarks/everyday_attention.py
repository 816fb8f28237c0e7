"""Everyday transformers twice: in Keras as keras.io builds them, and as PyTorch by hand.

A classifier of texts with layers of its own, and one of series; `everyday_vision.py` has the ViT.
Each twin begins with the Keras model's weights; its attention is torch's fused one or written out.
"""

import keras
import torch
import torch.nn.functional as F
from everyday_attention_parts import Attention
from everyday_loop import Accuracy
from everyday_twins import (
    SMALL,
    Case,
    adam,
    all_of,
    embedding_of,
    linear_of,
    norm_of,
    softmax,
)
from everyday_variants import ATTENTION
from everyday_vision import vision_case
from keras import layers, ops
from torch import nn

# A text classifier: keras.io, "Text classification with Transformer".

WORDS, LENGTH = 20_000, 200


class TransformerBlock(layers.Layer):
    def __init__(self, width, heads, rate=0.1):
        super().__init__()
        self.attention = layers.MultiHeadAttention(heads, 32)
        self.feed_forward = keras.Sequential([layers.Dense(width, "relu"), layers.Dense(width)])
        self.norms = [layers.LayerNormalization(epsilon=1e-6) for _ in range(2)]
        self.dropouts = [layers.Dropout(rate) for _ in range(2)]

    def call(self, inputs):
        x = self.dropouts[0](self.attention(inputs, inputs))
        x = self.norms[0](inputs + x)
        return self.norms[1](x + self.dropouts[1](self.feed_forward(x)))


class TokenAndPositionEmbedding(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.tokens = layers.Embedding(WORDS, width)
        self.positions = layers.Embedding(LENGTH, width)

    def call(self, x):
        positions = ops.arange(0, ops.shape(x)[-1], 1)
        return self.tokens(x) + self.positions(positions)


def text_in_keras(scale):
    width = 32 * scale.width
    inputs = keras.Input((LENGTH,), dtype="int32")  # numbers in bfloat16 would be other words
    x = TransformerBlock(width, 2 * scale.width)(TokenAndPositionEmbedding(width)(inputs))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(20, "relu")(x))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Text(nn.Module):
    variants = ATTENTION

    def __init__(self, model, fused):
        super().__init__()
        _, embedding, block, _, _, hidden, _, head = model.layers
        self.tokens, self.positions = (
            embedding_of(part) for part in (embedding.tokens, embedding.positions)
        )
        self.attention = Attention(block.attention, fused)
        self.feed_forward = nn.ModuleList(map(linear_of, block.feed_forward.layers))
        self.norms = nn.ModuleList(map(norm_of, block.norms))
        self.hidden, self.head = linear_of(hidden), linear_of(head)

    def forward(self, tokens):
        def drop(x):
            return F.dropout(x, 0.1, self.training)

        x = self.tokens(tokens) + self.positions.weight
        x = self.norms[0](x + drop(self.attention(x)))
        first, second = self.feed_forward
        x = self.norms[1](x + drop(second(F.relu(first(x)))))
        return self.head(drop(F.relu_(self.hidden(drop(x.mean(1))))))


# A classifier of series: keras.io, "Timeseries classification with a Transformer model".

STEPS, BLOCKS = 100, 4


def series_block(x, heads):
    y = layers.MultiHeadAttention(heads, 64, dropout=0.25)(x, x)
    x = layers.LayerNormalization(epsilon=1e-6)(layers.Dropout(0.25)(y)) + x
    y = layers.Dropout(0.25)(layers.Conv1D(4, 1, activation="relu")(x))
    return layers.LayerNormalization(epsilon=1e-6)(layers.Conv1D(8, 1)(y)) + x


def series_in_keras(scale):
    inputs = x = keras.Input((STEPS, 8))
    for _ in range(BLOCKS):
        x = series_block(x, 4 * scale.width)
    x = layers.GlobalAveragePooling1D()(x)
    x = layers.Dropout(0.4)(layers.Dense(128, "relu")(x))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    model.compile(
        keras.optimizers.Adam(1e-4), "sparse_categorical_crossentropy",
        metrics=["sparse_categorical_accuracy"],
    )  # fmt: skip
    return model


class Series(nn.Module):
    variants = ATTENTION

    def __init__(self, model, fused):
        super().__init__()
        self.attentions = all_of(
            model, layers.MultiHeadAttention, lambda layer: Attention(layer, fused)
        )
        self.norms = all_of(model, layers.LayerNormalization, norm_of)
        self.convolutions = all_of(model, layers.Conv1D, linear_of)
        self.hidden, self.head = all_of(model, layers.Dense, linear_of)

    def forward(self, x):
        for number, attention in enumerate(self.attentions):
            (norm, other), (first, second) = (
                parts[2 * number : 2 * number + 2] for parts in (self.norms, self.convolutions)
            )
            x = norm(F.dropout(attention(x), 0.25, self.training)) + x
            x = other(second(F.dropout(F.relu(first(x)), 0.25, self.training))) + x
        x = F.dropout(F.relu_(self.hidden(x.mean(1))), 0.4, self.training)
        return self.head(x)


def _labels(high, count):
    return torch.randint(0, high, (count,))


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    classes = F.cross_entropy

    def case(name, model, twin, counters, batch, optimizer, **more):
        return Case(
            name, lambda: model(scale), twin, classes, counters, batch, optimizer,
            by_chance=True, **more,
        )  # fmt: skip

    texts, few = 32 * scale.samples, 16 * scale.samples
    return [
        case("transformer text", text_in_keras, Text, {"accuracy": Accuracy},
             lambda: (torch.randint(0, WORDS, (texts, LENGTH)), _labels(2, texts)), adam(1e-3),
             prediction=softmax),
        case("transformer series", series_in_keras, Series,
             {"sparse_categorical_accuracy": Accuracy},
             lambda: (torch.randn(few, STEPS, 8), _labels(2, few)), adam(1e-4),
             prediction=softmax),
        vision_case(scale),
    ]  # fmt: skip
