"""Everyday networks of volumes and films twice: in Keras, and as PyTorch by hand."""

import keras
import torch
import torch.nn.functional as F
from everyday_loop import LogitAccuracy
from everyday_twins import SMALL, Case, adam, all_of, batch_norm_of, convolution_of, linear_of
from everyday_variants import IMAGES, VOLUMES
from keras import layers
from torch import nn

# keras.io, "3D image classification from CT scans", in short.


def volumes_in_keras(width):
    inputs = x = keras.Input((24, 24, 12, 1))
    for factor in (1, 2):
        x = layers.Conv3D(width * factor, 3, activation="relu")(x)
        x = layers.BatchNormalization()(layers.MaxPooling3D(2)(x))
    x = layers.Dense(4 * width, "relu")(layers.GlobalAveragePooling3D()(x))
    outputs = layers.Dense(1, "sigmoid")(layers.Dropout(0.3)(x))
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", metrics=["acc"])
    return model


class Volumes(nn.Module):
    """The largest of eight first: a ReLU of it is the largest ReLU of theirs."""

    variants = VOLUMES

    def __init__(self, model, memory_format):
        super().__init__()
        self.memory_format = memory_format
        self.convolutions = all_of(model, layers.Conv3D, convolution_of)
        self.norms = all_of(
            model, layers.BatchNormalization, lambda x: batch_norm_of(x, nn.BatchNorm3d)
        )
        self.hidden, self.head = all_of(model, layers.Dense, linear_of)
        self.convolutions.to(memory_format=memory_format)

    def forward(self, x):
        x = x.permute(0, 4, 1, 2, 3).contiguous(memory_format=self.memory_format)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(F.relu_(F.max_pool3d(convolution(x), 2)))
        x = F.dropout(F.relu_(self.hidden(x.mean((2, 3, 4)))), 0.3, self.training)
        return self.head(x)


# keras.io, "Next-frame video prediction with Convolutional LSTMs", in short.

FRAMES, SIZE = 8, 24


def films_in_keras(width):
    inputs = x = keras.Input((FRAMES, SIZE, SIZE, 1))
    for kernel in (5, 3):
        x = layers.ConvLSTM2D(
            width, kernel, padding="same", return_sequences=True, activation="relu"
        )(x)
    outputs = layers.Conv3D(1, 3, activation="sigmoid", padding="same")(x)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy")
    return model


class ConvLSTM(nn.Module):
    """The inputs of all steps are convolved at once, the states step by step.

    Three of four gates are one sigmoid, and the first step has no states to convolve.
    """

    def __init__(self, layer, memory_format):
        super().__init__()
        weights = layer.cell.kernel, layer.cell.recurrent_kernel, layer.cell.bias
        kernel, recurrent, bias = (_candidate_last(weight.value.detach()) for weight in weights)
        kernel, recurrent = (
            kernel.permute(3, 2, 0, 1).contiguous(memory_format=memory_format)
            for kernel in (kernel, recurrent)
        )
        self.kernel, self.recurrent, self.bias = map(nn.Parameter, (kernel, recurrent, bias))
        self.channels, self.padding = len(bias) // 4, kernel.shape[2] // 2

    def forward(self, x):
        batch, frames = x.shape[:2]
        given = F.conv2d(x.flatten(0, 1), self.kernel, self.bias, padding=self.padding)
        h, c, outputs = None, None, []
        for gates in given.unflatten(0, (batch, frames)).unbind(1):
            if h is not None:
                gates = F.conv2d(h, self.recurrent, padding=self.padding).add_(gates)
            gates, g = gates.split((3 * self.channels, self.channels), 1)
            i, f, o = torch.sigmoid(gates).chunk(3, 1)
            c = i * F.relu(g) if c is None else torch.addcmul(f * c, i, F.relu(g))
            h = o * F.relu(c)
            outputs.append(h.permute(0, 2, 3, 1))
        return torch.stack(outputs, 1).permute(0, 1, 4, 2, 3)


def _candidate_last(weight):
    i, f, g, o = weight.chunk(4, -1)
    return torch.cat((i, f, o, g), -1)


class Films(nn.Module):
    variants = IMAGES

    def __init__(self, model, memory_format):
        super().__init__()
        self.recurrences = all_of(model, layers.ConvLSTM2D, lambda x: ConvLSTM(x, memory_format))
        (self.head,) = all_of(model, layers.Conv3D, lambda x: convolution_of(x, 1))

    def forward(self, x):
        x = x.permute(0, 1, 4, 2, 3)
        for recurrence in self.recurrences:
            x = recurrence(x)
        return self.head(x.transpose(1, 2)).permute(0, 2, 3, 4, 1)


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    count, width = 4 * scale.samples, 16 * scale.width

    def films():
        frames = torch.rand(count, FRAMES + 1, SIZE, SIZE, 1).round()
        return frames[:, :-1], frames[:, 1:]

    loss = F.binary_cross_entropy_with_logits
    return [
        Case("Conv3D", lambda: volumes_in_keras(width), Volumes, loss, {"acc": LogitAccuracy},
             lambda: (torch.rand(count, 24, 24, 12, 1), torch.rand(count, 1).round()),
             adam(1e-3), prediction=torch.sigmoid, by_chance=True),
        Case("ConvLSTM2D", lambda: films_in_keras(width // 2), Films, loss, {}, films, adam(1e-3),
             prediction=torch.sigmoid),
    ]  # fmt: skip
