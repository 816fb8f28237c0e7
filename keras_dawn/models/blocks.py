"""What the networks for small images are made of: convolutions and normalised ReLUs."""

import keras
from keras import layers


def convolution(x, filters, kernel_size, strides, name):
    """A convolution without bias, padded on both sides as torch pads.

    Args:
        x: `KerasTensor` `(batch, height, width, channels)` (or channels first).
        filters, kernel_size, strides: ints; the kernel size is odd.
        name: str.
    """
    if kernel_size > 1 and strides > 1:  # Keras's "same" would pad on one side only
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        # torch.nn.init.kaiming_normal_ with mode="fan_out", as the PyTorch models have it
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )(x)


def normal_relu(x, name):
    """Batch normalisation with torch's defaults (its momentum of 0.1 is 0.9 here), and a ReLU."""
    x = layers.BatchNormalization(
        # Keras's own 0.99 has not caught up with the weights when 30 epochs are over.
        axis=channel_axis(),
        momentum=0.9,
        epsilon=1e-5,
        name=f"{name}_bn",
    )(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def any_size():
    """The shape of an image of three channels and any height and width."""
    return (None, None, 3) if channel_axis() == -1 else (3, None, None)


def cifar_size():
    """The shape of one of CIFAR-10's images."""
    return (32, 32, 3) if channel_axis() == -1 else (3, 32, 32)


def channel_axis():
    """Where Keras's image data format has the channels."""
    return -1 if keras.config.image_data_format() == "channels_last" else 1
