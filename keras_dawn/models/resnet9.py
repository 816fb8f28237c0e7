"""ResNet-9, David Page's network for CIFAR-10 (DAWNBench, November 2018, 1 × V100, 74.0 s)."""

from keras_dawn.models.blocks import cifar_size, convolution, normal_relu
from keras_dawn.models.heads import scaled_logits

import keras
from keras import layers


def ResNet9(*, input_shape=None, classes=10, scale=0.125, name="resnet9"):
    """Builds ResNet-9: four convolutions, two residual pairs, the maximum, scaled logits.

    Args:
        input_shape: shape of one image of at least 32 pixels a side, or with `None`s; by default
            `(32, 32, 3)` (`(3, 32, 32)` under `channels_first`).
        classes: int.
        scale: float, what the logits are multiplied by.
        name: str.

    Returns:
        `keras.Model` from `(batch, height, width, 3)` to logits `(batch, classes)`; 6,573,120
        trainable parameters for 10 classes.

    Example:
        >>> keras_dawn.models.ResNet9().output_shape
        (None, 10)
    """
    inputs = keras.Input(cifar_size() if input_shape is None else input_shape, name="images")
    x = normal_relu(convolution(inputs, 64, 3, 1, "prep"), "prep")
    for number, filters in enumerate((128, 256, 512), 1):
        x = normal_relu(convolution(x, filters, 3, 1, f"layer{number}"), f"layer{number}")
        x = layers.MaxPooling2D(2, name=f"layer{number}_pool")(x)
        # Page's search left the middle layer without a residual pair.
        if number != 2:
            x = _residual(x, filters, f"layer{number}")
    return keras.Model(inputs, scaled_logits(x, classes, scale), name=name)


def _residual(x, filters, name):
    inner = x
    for number in (1, 2):
        part = f"{name}_residual{number}"
        inner = normal_relu(convolution(inner, filters, 3, 1, part), part)
    return layers.Add(name=f"{name}_add")([x, inner])
