"""Everyday convolutions of texts and series twice: in Keras, and as PyTorch by hand."""

import keras
import torch
import torch.nn.functional as F
from everyday_loop import Accuracy, LogitAccuracy
from everyday_twins import (
    SMALL,
    Case,
    adam,
    all_of,
    batch_norm_of,
    convolution_of,
    embedding_of,
    linear_of,
    softmax,
)
from everyday_variants import SERIES, WAVES
from keras import layers
from torch import nn

# keras.io, "Text classification from scratch".

WORDS, LENGTH = 20_000, 250


def text_in_keras(width):
    model = keras.Sequential([
        keras.Input((None,), dtype="int64"), layers.Embedding(WORDS, width), layers.Dropout(0.5),
        layers.Conv1D(width, 7, 3, activation="relu"),
        layers.Conv1D(width, 7, 3, activation="relu"), layers.GlobalMaxPooling1D(),
        layers.Dense(width, "relu"), layers.Dropout(0.5), layers.Dense(1, "sigmoid"),
    ])  # fmt: skip
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    return model


def channels_second(x, rows):
    """`(batch, time, channels)` in torch's order; with `rows`, as images of one row."""
    return x.unsqueeze(1).permute(0, 3, 1, 2) if rows else x.transpose(1, 2)


class Text(nn.Module):
    """The largest of all steps first: a ReLU of it is the largest ReLU of theirs."""

    variants = SERIES

    def __init__(self, model, rows):
        super().__init__()
        self.rows = rows
        (self.embedding,) = all_of(model, layers.Embedding, embedding_of)
        self.convolutions = all_of(model, layers.Conv1D, lambda x: convolution_of(x, rows=rows))
        self.hidden, self.head = all_of(model, layers.Dense, linear_of)

    def forward(self, words):
        x = F.dropout(self.embedding(words), 0.5, self.training)
        first, second = self.convolutions
        x = second(F.relu_(first(channels_second(x, self.rows))))
        x = F.relu(x.flatten(2).amax(2))
        x = F.dropout(F.relu_(self.hidden(x)), 0.5, self.training)
        return self.head(x)


# WaveNet's dilated causal convolutions, forecasting the next value of each step.

DILATIONS = (1, 2, 4, 8)


def wavenet_in_keras(width):
    inputs = keras.Input((128, 4))
    x, skips = layers.Conv1D(width, 1)(inputs), []
    for dilation in DILATIONS:
        gates = [
            layers.Conv1D(width, 2, padding="causal", dilation_rate=dilation, activation=name)(x)
            for name in ("tanh", "sigmoid")
        ]
        skips.append(layers.Conv1D(width, 1)(layers.Multiply()(gates)))
        x = layers.Add()([x, skips[-1]])
    x = layers.Conv1D(width, 1, activation="relu")(layers.ReLU()(layers.Add()(skips)))
    model = keras.Model(inputs, layers.Conv1D(1, 1)(x))
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model


class WaveNet(nn.Module):
    """Both gates are one convolution, or one product with the steps and those before them."""

    variants = WAVES

    def __init__(self, model, rows):
        super().__init__()
        self.rows, self.products = rows, rows is None
        all_layers = [layer for layer in model.layers if type(layer) is layers.Conv1D]
        first, *blocks, hidden, head = all_layers

        def made(layer):
            return linear_of(layer) if self.products else convolution_of(layer, rows=rows)

        self.first, self.hidden, self.head = map(made, (first, hidden, head))
        both = _product_of if self.products else _both
        gates = [[convolution_of(layer) for layer in blocks[place::3]] for place in (0, 1)]
        self.gates = nn.ModuleList(map(both, *gates))
        if rows:
            self.gates = nn.ModuleList(map(_of_one_row, self.gates))
        self.skips = nn.ModuleList(map(made, blocks[2::3]))

    def forward(self, x):
        x = x if self.products else channels_second(x, self.rows)
        x, total, channels = self.first(x), None, -1 if self.products else 1
        for dilation, gates, skip in zip(DILATIONS, self.gates, self.skips, strict=True):
            if self.products:
                given = torch.cat((F.pad(x, (0, 0, dilation, -dilation)), x), 2)
            else:
                given = F.pad(x, (dilation, 0))
            tanh, sigmoid = gates(given).chunk(2, channels)
            y = skip(torch.tanh(tanh) * torch.sigmoid(sigmoid))
            total = y if total is None else total + y
            if dilation != DILATIONS[-1]:  # nobody reads the last sum
                x = x + y
        x = self.head(F.relu(self.hidden(F.relu(total))))
        return x if self.products else x.flatten(2).transpose(1, 2)


@torch.no_grad()
def _both(one, other):
    both = nn.Conv1d(one.in_channels, 2 * one.out_channels, 2, dilation=one.dilation)
    both.weight.copy_(torch.cat((one.weight, other.weight)))
    both.bias.copy_(torch.cat((one.bias, other.bias)))
    return both


@torch.no_grad()
def _product_of(one, other):
    both = _both(one, other)
    product = nn.Linear(2 * both.in_channels, both.out_channels)
    product.weight.copy_(both.weight.transpose(1, 2).flatten(1))
    product.bias.copy_(both.bias)
    return product


@torch.no_grad()
def _of_one_row(module):
    images = nn.Conv2d(
        module.in_channels, module.out_channels, (1, 2), dilation=(1, *module.dilation)
    )
    images.weight.copy_(module.weight[:, :, None])
    images.bias.copy_(module.bias)
    return images.to(memory_format=torch.channels_last)


# keras.io, "Timeseries classification from scratch".


def series_in_keras(width):
    inputs = x = keras.Input((500, 1))
    for _ in range(3):
        x = layers.Conv1D(width, 3, padding="same")(x)
        x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.GlobalAveragePooling1D()(x)
    model = keras.Model(inputs, layers.Dense(2, "softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy",
                  metrics=["sparse_categorical_accuracy"])  # fmt: skip
    return model


class Series(nn.Module):
    variants = SERIES

    def __init__(self, model, rows):
        super().__init__()
        self.rows = rows
        padding, kind = ("half", nn.BatchNorm2d) if rows else (1, nn.BatchNorm1d)
        self.convolutions = all_of(model, layers.Conv1D, lambda x: convolution_of(x, padding, rows))
        self.norms = all_of(model, layers.BatchNormalization, lambda x: batch_norm_of(x, kind))
        (self.head,) = all_of(model, layers.Dense, linear_of)

    def forward(self, x):
        x = channels_second(x, self.rows)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu_(norm(convolution(x)))
        return self.head(x.flatten(2).mean(2))


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    count = 16 * scale.samples

    def labels():
        return torch.randint(0, 2, (count,))

    return [
        Case("Conv1D text", lambda: text_in_keras(64 * scale.width), Text,
             F.binary_cross_entropy_with_logits, {"accuracy": LogitAccuracy},
             lambda: (torch.randint(0, WORDS, (count, LENGTH)), labels().float()[:, None]),
             adam(1e-3), prediction=torch.sigmoid, by_chance=True),
        Case("WaveNet", lambda: wavenet_in_keras(32 * scale.width), WaveNet, F.mse_loss, {},
             lambda: (torch.randn(count, 128, 4), torch.randn(count, 128, 1)), adam(1e-3)),
        Case("series with batch normalization", lambda: series_in_keras(32 * scale.width), Series,
             F.cross_entropy, {"sparse_categorical_accuracy": Accuracy},
             lambda: (torch.randn(count, 500, 1), labels()), adam(1e-3), prediction=softmax),
    ]  # fmt: skip
