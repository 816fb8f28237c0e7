"""Everyday networks of images twice: in Keras, and as PyTorch by hand that computes the same.

Twins of images try torch's channels_last memory format and its own; the quicker one counts.
"""

import keras
import torch
import torch.nn.functional as F
from everyday_loop import Accuracy
from everyday_twins import (
    SMALL,
    Case,
    adam,
    all_of,
    batch_norm_of,
    convolution_of,
    linear_of,
    softmax,
)
from everyday_variants import IMAGES, PENALTY, Regularized, both
from keras import layers
from torch import nn

L2 = 1e-4


class Images(nn.Module):
    """The layers of a Keras model with weights, by kind."""

    variants = IMAGES

    def __init__(self, model, memory_format, padding=0):
        super().__init__()
        self.memory_format = memory_format
        self.convolutions = all_of(model, layers.Conv2D, lambda x: convolution_of(x, padding))
        self.transposed = all_of(model, layers.Conv2DTranspose, convolution_of)
        self.norms = all_of(model, layers.BatchNormalization, batch_norm_of)
        self.groups = all_of(model, layers.GroupNormalization, group_norm_of)
        self.dense = all_of(model, layers.Dense, linear_of)
        self.to(memory_format=memory_format)

    def images(self, x):
        """Keras's batch in torch's order of axes, as the convolutions want it in memory."""
        return x.permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)


@torch.no_grad()
def group_norm_of(layer):
    module = nn.GroupNorm(layer.groups, layer.gamma.shape[0], layer.epsilon)
    module.weight.copy_(layer.gamma.value)
    module.bias.copy_(layer.beta.value)
    return module


def _compiled(model, loss="sparse_categorical_crossentropy", metrics=("accuracy",)):
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=list(metrics))
    return model


# keras.io, "Simple MNIST convnet", with a penalty for large kernels.


def convnet_in_keras(width):
    l2 = keras.regularizers.l2(L2)
    return _compiled(keras.Sequential([
        keras.Input((28, 28, 1)),
        layers.Conv2D(width, 3, activation="relu", kernel_regularizer=l2), layers.MaxPooling2D(),
        layers.Conv2D(2 * width, 3, activation="relu", kernel_regularizer=l2),
        layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.5),
        layers.Dense(10, "softmax"),
    ]))  # fmt: skip


class ConvNet(Regularized, Images):
    """The largest of four pixels first: a ReLU of it is the largest ReLU of theirs."""

    variants = both(IMAGES, PENALTY)

    def __init__(self, model, memory_format, decay):
        super().__init__(model, memory_format)
        self.decay = decay

    def forward(self, x):
        x = self.images(x)
        for convolution in self.convolutions:
            x = F.relu_(F.max_pool2d(convolution(x), 2))
        x = x.permute(0, 2, 3, 1).flatten(1)  # in Keras's order, for its weights
        return self.dense[0](F.dropout(x, 0.5, self.training))

    def regularized(self):
        return L2, [module.weight for module in self.convolutions]


# keras.io, "Convolutional autoencoder for image denoising".


def autoencoder_in_keras(width):
    def convolution(kind, strides):
        return kind(width, 3, strides, "same", activation="relu")

    return _compiled(keras.Sequential([
        keras.Input((28, 28, 1)),
        convolution(layers.Conv2D, 1), layers.MaxPooling2D(2, padding="same"),
        convolution(layers.Conv2D, 1), layers.MaxPooling2D(2, padding="same"),
        convolution(layers.Conv2DTranspose, 2), convolution(layers.Conv2DTranspose, 2),
        layers.Conv2D(1, 3, activation="sigmoid", padding="same"),
    ]), "binary_crossentropy", ())  # fmt: skip


def transposed(module, x):
    """Keras's "same" at stride 2: twice the size, cut off at the end."""
    height, width = x.shape[2:]
    return module(x)[:, :, : 2 * height, : 2 * width]


class Autoencoder(Images):
    def __init__(self, model, memory_format):
        super().__init__(model, memory_format, padding=1)

    def forward(self, x):
        *encoder, last = self.convolutions
        x = self.images(x)
        for convolution in encoder:
            x = F.relu_(F.max_pool2d(convolution(x), 2))
        for module in self.transposed:
            x = F.relu(transposed(module, x))
        return last(x).permute(0, 2, 3, 1)


# A U-Net for three classes of pixels, as keras.io's "Image segmentation with a U-Net" in short.

CLASSES = 3


def _block_in_keras(x, width):
    for _ in range(2):
        x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = layers.Activation("relu")(layers.BatchNormalization()(x))
    return x


def unet_in_keras(width, depth=3):
    inputs = x = keras.Input((32, 32, 3))
    kept = []
    for level in range(depth):
        kept.append(_block_in_keras(x, width * 2**level))
        x = layers.MaxPooling2D()(kept[-1])
    x = _block_in_keras(x, width * 2**depth)
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(width * 2**level, 2, 2, "same")(x)
        x = _block_in_keras(layers.Concatenate()([x, kept[level]]), width * 2**level)
    # Logits: from probabilities of pixels plain Keras 3.15 on torch 2.14 cannot train on a CPU.
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _compiled(keras.Model(inputs, layers.Conv2D(CLASSES, 1)(x)), loss)


class UNet(Images):
    def __init__(self, model, memory_format):
        super().__init__(model, memory_format, padding="half")

    def forward(self, x):
        blocks = iter(zip(self.convolutions[:-1], self.norms, strict=True))
        x, kept = self.images(x), []
        for _ in self.transposed:
            kept.append(self._block(x, blocks))
            x = F.max_pool2d(kept[-1], 2)
        x = self._block(x, blocks)
        for module in self.transposed:
            x = self._block(torch.cat((module(x), kept.pop()), 1), blocks)
        return self.convolutions[-1](x)

    def _block(self, x, blocks):
        for _ in range(2):
            convolution, norm = next(blocks)
            x = F.relu_(norm(convolution(x)))
        return x


# A residual network with group normalization.


def resnet_in_keras(width):
    def convolution(x, width, strides=1):
        x = layers.Conv2D(width, 3, strides, use_bias=False)(layers.ZeroPadding2D(1)(x))
        return layers.GroupNormalization(8)(x)

    inputs = keras.Input((32, 32, 3))
    x = layers.ReLU()(convolution(inputs, width))
    for group in range(3):
        for block in range(2):
            first = bool(group) and not block
            y = layers.ReLU()(convolution(x, width * 2**group, 2 if first else 1))
            y = convolution(y, width * 2**group)
            if first:
                x = layers.Conv2D(width * 2**group, 1, 2, use_bias=False)(x)
            x = layers.ReLU()(layers.Add()([x, y]))
    outputs = layers.Dense(10)(layers.GlobalAveragePooling2D()(x))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return _compiled(keras.Model(inputs, outputs), loss)


class ResNet(Images):
    def forward(self, x):
        modules, norms = iter(self.convolutions), iter(self.groups)

        def convolution(x):
            module = next(modules)
            return next(norms)(F.conv2d(x, module.weight, None, module.stride, 1))

        x = F.relu_(convolution(self.images(x)))
        for group in range(3):
            for block in range(2):
                y = convolution(F.relu_(convolution(x)))
                x = F.relu_(y.add_(next(modules)(x) if group and not block else x))
        return self.dense[0](x.mean((2, 3)))


class PixelAccuracy(Accuracy):
    def add(self, outputs, y):
        super().add(outputs.movedim(1, -1), y)


def cases(scale=SMALL):
    """The `Case`s, in the order of the table."""
    count, width = 8 * scale.samples, 16 * scale.width

    def labels(*shape, high=10):
        return torch.randint(0, high, (count, *shape))

    def noisy():
        images = torch.rand(count, 28, 28, 1)
        return (images + 0.4 * torch.randn_like(images)).clip(0, 1), images

    def case(name, model, twin, loss, batch, **more):
        counters = more.pop("counters", {"accuracy": Accuracy})
        return Case(name, lambda: model(width), twin, loss, counters, batch, adam(1e-3), **more)

    return [
        case("CNN, l2", convnet_in_keras, ConvNet, F.cross_entropy,
             lambda: (torch.rand(count, 28, 28, 1), labels()), prediction=softmax,
             by_chance=True),
        case("autoencoder", autoencoder_in_keras, Autoencoder,
             F.binary_cross_entropy_with_logits, noisy, counters={}, prediction=torch.sigmoid),
        case("U-Net", unet_in_keras, UNet, F.cross_entropy,
             lambda: (torch.rand(count, 32, 32, 3), labels(32, 32, high=CLASSES)),
             counters={"accuracy": PixelAccuracy},
             prediction=lambda outputs: outputs.permute(0, 2, 3, 1)),
        case("ResNet, GroupNormalization", resnet_in_keras, ResNet, F.cross_entropy,
             lambda: (torch.randn(count, 32, 32, 3), labels())),
    ]  # fmt: skip
