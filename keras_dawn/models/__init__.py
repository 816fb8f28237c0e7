"""Networks as Keras models."""

from keras_dawn.models.resnet import ResNet, ResNet18, ResNet34, ResNet50
from keras_dawn.models.wide_resnet import WideResNet

__all__ = ["ResNet", "ResNet18", "ResNet34", "ResNet50", "WideResNet"]
