"""Pre-activation residual networks for small images (He et al. 2016, arXiv:1603.05027)."""

from keras_dawn.models.heads import logits
from keras_dawn.models.layers import ConcatPooling2D

import keras
from keras import layers

_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def PreActResNet18(**arguments):
    """fast.ai's `preact_resnet18` (11,171,146 parameters), "10 minutes"; see `PreActResNet`."""
    return PreActResNet(18, **arguments)


def PreActResNet34(**arguments):
    """fast.ai's `preact_resnet34` (21,279,306 parameters); see `PreActResNet`."""
    return PreActResNet(34, **arguments)


def PreActResNet50(**arguments):
    """fast.ai's `preact_resnet50`, "15 minutes"; see `PreActResNet`."""
    return PreActResNet(50, **arguments)


def PreActResNet(depth=18, *, input_shape=None, classes=10, name=None):
    """Builds a pre-activation ResNet as in fast.ai's CIFAR-10 notebooks of 2018.

    The stem is one convolution without normalisation, shortcuts are convolutions only where
    the shape changes, nothing is normalised at the end, and the head pools the maximum.

    Args:
        depth: 18, 34 or 50.
        input_shape: shape of one image, by default `(None, None, 3)`: any size.
        classes: int.
        name: str, by default `preact_resnet18` and so on.

    Returns:
        `keras.Model` from `(batch, height, width, 3)` to logits `(batch, classes)`.

    Raises:
        ValueError: another depth.

    Example:
        >>> keras_dawn.models.PreActResNet(18).output_shape
        (None, 10)
    """
    if depth not in _STAGES:
        raise ValueError(f"`depth` must be one of {sorted(_STAGES)}, got {depth!r}.")
    inputs = keras.Input(_any_size() if input_shape is None else input_shape, name="images")
    x = convolution(inputs, 64, 3, 1, "stem")
    block = _bottleneck if depth == 50 else _basic
    for stage, blocks in enumerate(_STAGES[depth], 1):
        for number in range(blocks):
            strides = 2 if stage > 1 and number == 0 else 1
            x = block(x, 64 * 2 ** (stage - 1), strides, f"layer{stage}_{number}")
    x = logits(layers.GlobalMaxPooling2D(name="head_pool")(x), classes)
    return keras.Model(inputs, x, name=name or f"preact_resnet{depth}")


def ResNet18ConcatPool(*, input_shape=None, classes=10, name="resnet18_concat_pool"):
    """Builds the network of Ben Johnson's DAWNBench entry (April 2018, 1 × V100, 340.6 s).

    Pre-activation blocks of 64, 128, 256 and 256 channels after a normalised stem; the head
    concatenates average and maximum. 5,205,962 parameters.

    Args:
        input_shape, classes, name: as for `PreActResNet`.

    Returns:
        `keras.Model` from `(batch, height, width, 3)` to logits `(batch, classes)`.
    """
    inputs = keras.Input(_any_size() if input_shape is None else input_shape, name="images")
    x = normal_relu(convolution(inputs, 64, 3, 1, "stem"), "stem")
    for stage, filters in enumerate((64, 128, 256, 256), 1):
        for number in range(2):
            strides = 2 if stage > 1 and number == 0 else 1
            x = _basic(x, filters, strides, f"layer{stage}_{number}")
    x = logits(ConcatPooling2D("avg_max", name="head_pool")(x), classes)
    return keras.Model(inputs, x, name=name)


def _basic(x, filters, strides, name):
    active = normal_relu(x, f"{name}_1")
    shortcut = _shortcut(x, active, filters, strides, name)
    x = convolution(active, filters, 3, strides, f"{name}_conv1")
    x = convolution(normal_relu(x, f"{name}_2"), filters, 3, 1, f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut, x])


def _bottleneck(x, filters, strides, name):
    active = normal_relu(x, f"{name}_1")
    shortcut = _shortcut(x, active, 4 * filters, strides, name)
    x = convolution(active, filters, 1, 1, f"{name}_conv1")
    x = convolution(normal_relu(x, f"{name}_2"), filters, 3, strides, f"{name}_conv2")
    x = convolution(normal_relu(x, f"{name}_3"), 4 * filters, 1, 1, f"{name}_conv3")
    return layers.Add(name=f"{name}_add")([shortcut, x])


def _shortcut(x, active, filters, strides, name):
    if strides == 1 and x.shape[_channel_axis()] == filters:
        return x
    return convolution(active, filters, 1, strides, f"{name}_shortcut")


def convolution(x, filters, kernel_size, strides, name):
    """A convolution without bias, padded on both sides as torch pads."""
    if kernel_size > 1 and strides > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
    return layers.Conv2D(
        filters,
        kernel_size,
        strides,
        padding="valid" if strides > 1 else "same",
        use_bias=False,
        kernel_initializer=keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
        name=name,
    )(x)


def normal_relu(x, name):
    """Batch normalisation with torch's defaults, and a ReLU."""
    x = layers.BatchNormalization(
        axis=_channel_axis(), momentum=0.9, epsilon=1e-5, name=f"{name}_bn"
    )(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _any_size():
    return (None, None, 3) if _channel_axis() == -1 else (3, None, None)


def _channel_axis():
    return -1 if keras.config.image_data_format() == "channels_last" else 1
