"""Everyday transformers twice: in Keras as keras.io builds them, and as PyTorch by hand.

A classifier of texts and a vision transformer with layers of their own, and a classifier of series.
Each twin is on torch's fused attention and begins with the Keras model's weights.
"""

import keras
import torch
import torch.nn.functional as F
from everyday_loop import Accuracy, TopFive
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
from keras import layers, ops
from torch import nn


class Attention(nn.Module):
    """Self-attention of several heads on torch's fused kernel, with a Keras layer's weights."""

    @torch.no_grad()
    def __init__(self, layer):
        super().__init__()
        parts = [layer.query_dense, layer.key_dense, layer.value_dense]
        channels, self.heads, size = parts[0].kernel.shape
        self.rate = layer.dropout
        self.inputs = nn.Linear(channels, 3 * self.heads * size)
        self.outputs = nn.Linear(self.heads * size, channels)
        kernels = [part.kernel.value.flatten(1) for part in parts]
        self.inputs.weight.copy_(torch.cat(kernels, 1).T)
        self.inputs.bias.copy_(torch.cat([part.bias.value.flatten() for part in parts]))
        self.outputs.weight.copy_(layer.output_dense.kernel.value.flatten(0, 1).T)
        self.outputs.bias.copy_(layer.output_dense.bias.value)

    def forward(self, x, mask=None):
        parts = self.inputs(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        x = F.scaled_dot_product_attention(*parts, mask, rate)
        return self.outputs(x.transpose(1, 2).flatten(2))


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
    inputs = keras.Input((LENGTH,))
    x = TransformerBlock(width, 2 * scale.width)(TokenAndPositionEmbedding(width)(inputs))
    x = layers.Dropout(0.1)(layers.GlobalAveragePooling1D()(x))
    x = layers.Dropout(0.1)(layers.Dense(20, "relu")(x))
    model = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


class Text(nn.Module):
    def __init__(self, model):
        super().__init__()
        _, embedding, block, _, _, hidden, _, head = model.layers
        self.tokens, self.positions = (
            embedding_of(part) for part in (embedding.tokens, embedding.positions)
        )
        self.attention = Attention(block.attention)
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
        return self.head(drop(F.relu(self.hidden(drop(x.mean(1))))))


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
    def __init__(self, model):
        super().__init__()

        self.attentions = all_of(model, layers.MultiHeadAttention, Attention)
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
        x = F.dropout(F.relu(self.hidden(x.mean(1))), 0.4, self.training)
        return self.head(x)


# A vision transformer: keras.io, "Image classification with Vision Transformer".

SIZE, PATCH, DEPTH = 32, 4, 4


class Patches(layers.Layer):
    def call(self, images):
        patches = ops.image.extract_patches(images, PATCH)
        return ops.reshape(patches, (-1, (SIZE // PATCH) ** 2, PATCH * PATCH * 3))


class PatchEncoder(layers.Layer):
    def __init__(self, width):
        super().__init__()
        self.projection = layers.Dense(width)
        self.positions = layers.Embedding((SIZE // PATCH) ** 2, width)

    def call(self, patches):
        positions = ops.expand_dims(ops.arange(0, (SIZE // PATCH) ** 2, 1), 0)
        return self.projection(patches) + self.positions(positions)


def mlp(x, sizes, rate):
    for size in sizes:
        x = layers.Dropout(rate)(layers.Dense(size, activation=keras.activations.gelu)(x))
    return x


def vit_in_keras(scale):
    width = 64 * scale.width
    inputs = keras.Input((SIZE, SIZE, 3))
    x = PatchEncoder(width)(Patches()(inputs))
    for _ in range(DEPTH):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([layers.MultiHeadAttention(4 * scale.width, 64, dropout=0.1)(y, y), x])
        y = mlp(layers.LayerNormalization(epsilon=1e-6)(x), (2 * width, width), 0.1)
        x = layers.Add()([y, x])
    x = layers.Flatten()(layers.LayerNormalization(epsilon=1e-6)(x))
    x = mlp(layers.Dropout(0.5)(x), (256, 128), 0.5)
    model = keras.Model(inputs, layers.Dense(100)(x))
    model.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[
            keras.metrics.SparseCategoricalAccuracy(name="accuracy"),
            keras.metrics.SparseTopKCategoricalAccuracy(5, name="top-5-accuracy"),
        ],
    )
    return model


class ViT(nn.Module):
    def __init__(self, model):
        super().__init__()

        encoder = next(x for x in model.layers if isinstance(x, PatchEncoder))
        self.projection, self.positions = (
            linear_of(encoder.projection),
            embedding_of(encoder.positions),
        )
        self.norms = all_of(model, layers.LayerNormalization, norm_of)
        self.attentions = all_of(model, layers.MultiHeadAttention, Attention)
        self.dense = all_of(model, layers.Dense, linear_of)

    def forward(self, images):
        side = SIZE // PATCH
        x = (
            images.view(-1, side, PATCH, side, PATCH, 3)
            .transpose(2, 3)
            .reshape(-1, side * side, PATCH * PATCH * 3)
        )
        x = self.projection(x) + self.positions.weight

        def hidden(number, x, rate):
            return F.dropout(F.gelu(self.dense[number](x)), rate, self.training)

        for block, attention in enumerate(self.attentions):
            x = attention(self.norms[2 * block](x)) + x
            y = hidden(2 * block, self.norms[2 * block + 1](x), 0.1)
            x = hidden(2 * block + 1, y, 0.1) + x
        x = F.dropout(self.norms[-1](x).flatten(1), 0.5, self.training)
        x = hidden(-2, hidden(-3, x, 0.5), 0.5)
        return self.dense[-1](x)


def _adamw(parameters):
    return torch.optim.AdamW(parameters, 1e-3, eps=1e-7, weight_decay=1e-4, fused=True), None


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
        case("ViT", vit_in_keras, ViT, {"accuracy": Accuracy, "top-5-accuracy": TopFive},
             lambda: (torch.rand(few, SIZE, SIZE, 3), _labels(100, few)), _adamw),
    ]  # fmt: skip
