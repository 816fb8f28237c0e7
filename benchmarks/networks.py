"""The same residual networks twice: in Keras, and in PyTorch as one writes them by hand."""

import keras_dawn

import keras
import torch
import torch.nn.functional as F
import torchvision
from keras import layers


class Shape:
    """A pre-activation residual network for 32-pixel images.

    Args:
        stem: channels of the first convolution.
        widths: channels of each group; all but the first halve the image.
        blocks: residual blocks in each group.
    """

    def __init__(self, stem, widths, blocks):
        self.stem, self.widths, self.blocks = stem, widths, blocks


def resnet18(width):
    return Shape(width, [width * 2**k for k in range(4)], [2, 2, 2, 2])


def resnet34(width):
    return Shape(width, [width * 2**k for k in range(4)], [3, 4, 6, 3])


def wrn(depth, width):
    return Shape(16, [16 * width * 2**k for k in range(3)], [(depth - 4) // 6] * 3)


class Photo:
    """A residual network for photos, as torchvision has it: ours from `keras_dawn.models`.

    Args:
        depth: 18 or 50.
    """

    def __init__(self, depth):
        self.depth = depth


def in_keras(shape, classes=10):
    """The network as a Functional Keras model that returns logits."""
    if isinstance(shape, Photo):
        return keras_dawn.models.ResNet(shape.depth, classes=classes)

    def conv(x, filters, size, strides=1):
        if size == 3 and strides == 2:
            x = layers.ZeroPadding2D(1)(x)
        padding = "same" if strides == 1 else "valid"
        return layers.Conv2D(filters, size, strides, padding, use_bias=False)(x)

    def norm_relu(x):
        return layers.ReLU()(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))

    inputs = keras.Input((32, 32, 3))
    x, channels = conv(inputs, shape.stem, 3), shape.stem
    for group, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
        for block in range(blocks):
            strides = 2 if group and not block else 1
            active = norm_relu(x)
            shortcut = x if channels == width and strides == 1 else conv(active, width, 1, strides)
            x = conv(norm_relu(conv(active, width, 3, strides)), width, 3)
            x, channels = layers.Add()([shortcut, x]), width
    x = layers.GlobalAveragePooling2D()(norm_relu(x))
    return keras.Model(inputs, layers.Dense(classes, dtype=_logits_dtype())(x))


def _logits_dtype():
    policy = keras.config.dtype_policy()
    return "float32" if policy.compute_dtype != policy.variable_dtype else policy


class Block(torch.nn.Module):
    """Two pre-activated 3×3 convolutions around a shortcut."""

    def __init__(self, channels, width, stride):
        super().__init__()
        self.bn1 = torch.nn.BatchNorm2d(channels)
        self.conv1 = torch.nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = None
        if channels != width or stride != 1:
            self.shortcut = torch.nn.Conv2d(channels, width, 1, stride, bias=False)

    def forward(self, x):
        active = F.relu(self.bn1(x), inplace=False)
        shortcut = x if self.shortcut is None else self.shortcut(active)
        x = self.conv1(active)
        return self.conv2(F.relu(self.bn2(x), inplace=True)) + shortcut


def in_torch(shape, classes=10):
    """The network as a `torch.nn.Module` that returns logits."""
    if isinstance(shape, Photo):
        return getattr(torchvision.models, f"resnet{shape.depth}")(num_classes=classes)
    modules = [torch.nn.Conv2d(3, shape.stem, 3, 1, 1, bias=False)]
    channels = shape.stem
    for group, (width, blocks) in enumerate(zip(shape.widths, shape.blocks, strict=True)):
        for block in range(blocks):
            modules.append(Block(channels, width, 2 if group and not block else 1))
            channels = width
    modules += [
        torch.nn.BatchNorm2d(channels),
        torch.nn.ReLU(inplace=True),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(channels, classes),
    ]
    return torch.nn.Sequential(*modules)
