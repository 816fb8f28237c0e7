"""The residual network of `own_python.py` twice: subclassed in Keras, and as a torch loop."""

import keras
import torch
import torch.nn.functional as F
from keras import layers
from torch import nn


class Block(layers.Layer):
    def __init__(self, width, strides=1):
        super().__init__()
        self.first = layers.Conv2D(width, 3, strides, "same", use_bias=False)
        self.second = layers.Conv2D(width, 3, padding="same", use_bias=False)
        self.norms = [layers.BatchNormalization() for _ in range(2)]
        self.relu = layers.ReLU()
        self.shortcut = None
        if strides > 1:
            self.shortcut = layers.Conv2D(width, 1, strides, use_bias=False)

    def call(self, x, training=None):
        y = self.relu(self.norms[0](self.first(x), training=training))
        y = self.norms[1](self.second(y), training=training)
        return torch.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet(keras.Model):
    def __init__(self, width):
        super().__init__()
        self.stem = layers.Conv2D(width, 3, padding="same", use_bias=False)
        self.norm, self.relu = layers.BatchNormalization(), layers.ReLU()
        self.blocks = [
            Block(width * 2**group, 2 if group and not block else 1)
            for group in range(4)
            for block in range(2)
        ]
        self.pool, self.head = layers.GlobalAveragePooling2D(), layers.Dense(10)

    def call(self, x, training=None):
        x = self.relu(self.norm(self.stem(x), training=training))
        for block in self.blocks:
            x = block(x, training=training)
        return self.head(self.pool(x))


def resnet_in_keras(width):
    model = ResNet(width)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


class TorchBlock(nn.Module):
    def __init__(self, channels, width, stride):
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(channels, width, 3, stride, int(stride == 1), bias=False)
        self.second = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.shortcut = nn.Conv2d(channels, width, 1, stride, bias=False) if stride > 1 else None

    def forward(self, x):
        # Keras's "same" at stride 2 pads below and on the right only.
        padded = x if self.stride == 1 else F.pad(x, (0, 1, 0, 1))
        y = self.norm2(self.second(F.relu(self.norm1(self.first(padded)), inplace=True)))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNetLoop:
    """The same network and step in PyTorch, loss and accuracy on the device."""

    def __init__(self, width):
        blocks, channels = [], width
        for group in range(4):
            for block in range(2):
                wide, stride = width * 2**group, 2 if group and not block else 1
                blocks.append(TorchBlock(channels, wide, stride))
                channels = wide
        self.network = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(True),
            *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10),
        ).to(memory_format=torch.channels_last)  # fmt: skip
        self.optimizer = torch.optim.SGD(
            self.network.parameters(), lr=0.01, momentum=0.9, fused=True
        )
        self.loss, self.hits = torch.zeros(()), torch.zeros(())

    def train(self, batch, steps):
        x, y = batch
        for _ in range(steps):
            outputs = self.network(x.permute(0, 3, 1, 2))
            loss = F.cross_entropy(outputs, y)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                self.loss += loss.detach() * len(y)
                self.hits += (outputs.argmax(1) == y).sum()
