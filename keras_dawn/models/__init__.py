"""Networks as Keras models."""

from keras_dawn.models.freezing import freeze
from keras_dawn.models.initializers import IdentityFilters
from keras_dawn.models.layers import ConcatPooling2D, PaddingForPooling2D, Scale
from keras_dawn.models.preact_resnet import (
    PreActResNet,
    PreActResNet18,
    PreActResNet34,
    PreActResNet50,
    ResNet18ConcatPool,
)
from keras_dawn.models.resnet import ResNet, ResNet18, ResNet34, ResNet50
from keras_dawn.models.resnet9 import ResNet9
from keras_dawn.models.whitened import WhitenedConvNet, whiten
from keras_dawn.models.wide_resnet import WideResNet
from keras_dawn.models.winograd import WinogradConv2D

__all__ = [
    "ConcatPooling2D",
    "IdentityFilters",
    "PaddingForPooling2D",
    "PreActResNet",
    "PreActResNet18",
    "PreActResNet34",
    "PreActResNet50",
    "ResNet",
    "ResNet9",
    "ResNet18",
    "ResNet18ConcatPool",
    "ResNet34",
    "ResNet50",
    "Scale",
    "WhitenedConvNet",
    "WideResNet",
    "WinogradConv2D",
    "freeze",
    "whiten",
]
