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


class Text(nn.Module):
    def __init__(self, model):
        super().__init__()
        (self.embedding,) = all_of(model, layers.Embedding, embedding_of)
        self.convolutions = all_of(model, layers.Conv1D, convolution_of)
        self.hidden, self.head = all_of(model, layers.Dense, linear_of)

    def forward(self, words):
        x = F.dropout(self.embedding(words), 0.5, self.training).transpose(1, 2)
        for convolution in self.convolutions:
            x = F.relu(convolution(x))
        x = F.dropout(F.relu(self.hidden(x.amax(2))), 0.5, self.training)
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
    """Both gates are one convolution."""

    def __init__(self, model):
        super().__init__()
        first, *blocks, hidden, head = all_of(model, layers.Conv1D, convolution_of)
        self.first, self.hidden, self.head = first, hidden, head
        self.gates = nn.ModuleList(map(_both, blocks[::3], blocks[1::3]))
        self.skips = nn.ModuleList(blocks[2::3])

    def forward(self, x):
        x, total = self.first(x.transpose(1, 2)), 0
        for gates, skip in zip(self.gates, self.skips, strict=True):
            tanh, sigmoid = gates(F.pad(x, (gates.dilation[0], 0))).chunk(2, 1)
            y = skip(torch.tanh(tanh) * torch.sigmoid(sigmoid))
            x, total = x + y, total + y
        return self.head(F.relu(self.hidden(F.relu(total)))).transpose(1, 2)


@torch.no_grad()
def _both(one, other):
    both = nn.Conv1d(one.in_channels, 2 * one.out_channels, 2, dilation=one.dilation)
    both.weight.copy_(torch.cat((one.weight, other.weight)))
    both.bias.copy_(torch.cat((one.bias, other.bias)))
    return both


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
    def __init__(self, model):
        super().__init__()
        self.convolutions = all_of(model, layers.Conv1D, lambda x: convolution_of(x, 1))
        self.norms = all_of(
            model, layers.BatchNormalization, lambda x: batch_norm_of(x, nn.BatchNorm1d)
        )
        (self.head,) = all_of(model, layers.Dense, linear_of)

    def forward(self, x):
        x = x.transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)), inplace=True)
        return self.head(x.mean(2))


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
