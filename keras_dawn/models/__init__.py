"""Networks of the DAWNBench entries, as Keras models."""

from keras_dawn.models.wide_resnet import WideResNet

__all__ = ["WideResNet"]
