"""A vision transformer twice: in Keras, with layers of its own, and as PyTorch by hand.

keras.io, "Image classification with Vision Transformer".
"""

import keras
import torch
import torch.nn.functional as F
from everyday_attention_parts import Attention
from everyday_loop import Accuracy, TopFive
from everyday_twins import Case, all_of, embedding_of, linear_of, norm_of
from everyday_variants import ATTENTION
from keras import layers, ops
from torch import nn

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
    variants = ATTENTION

    def __init__(self, model, fused):
        super().__init__()
        encoder = next(x for x in model.layers if isinstance(x, PatchEncoder))
        self.projection, self.positions = (
            linear_of(encoder.projection),
            embedding_of(encoder.positions),
        )
        self.norms = all_of(model, layers.LayerNormalization, norm_of)
        self.attentions = all_of(
            model, layers.MultiHeadAttention, lambda layer: Attention(layer, fused)
        )
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


def vision_case(scale):
    """The `Case`."""
    few = 16 * scale.samples

    def batch():
        return torch.rand(few, SIZE, SIZE, 3), torch.randint(0, 100, (few,))

    return Case(
        "ViT", lambda: vit_in_keras(scale), ViT, F.cross_entropy,
        {"accuracy": Accuracy, "top-5-accuracy": TopFive}, batch, _adamw, by_chance=True,
    )  # fmt: skip
