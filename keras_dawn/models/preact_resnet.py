"""Pre-activation residual networks for small images (He et al. 2016, arXiv:1603.05027)."""

from keras_dawn.models.blocks import any_size, channel_axis, convolution, normal_relu
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


def PreActResNet(depth=18, *, width=64, input_shape=None, classes=10, name=None):
    """Builds a pre-activation ResNet as in fast.ai's CIFAR-10 notebooks of 2018.

    The stem is one convolution without normalisation, shortcuts are convolutions only where
    the shape changes, nothing is normalised at the end, and the head pools the maximum.

    Args:
        depth: 18, 34 or 50.
        width: int, channels of the first stage; each further one has twice as many.
        input_shape: shape of one image, by default `(None, None, 3)`: any size.
        classes: int.
        name: str, by default `preact_resnet18` and so on.

    Returns:
        `keras.Model` from `(batch, height, width, 3)` to logits `(batch, classes)`.

    Raises:
        ValueError: another depth, or a width below 1.

    Example:
        >>> keras_dawn.models.PreActResNet(18).output_shape
        (None, 10)
    """
    if depth not in _STAGES:
        raise ValueError(f"`depth` must be one of {sorted(_STAGES)}, got {depth!r}.")
    _check_width(width)
    inputs = keras.Input(any_size() if input_shape is None else input_shape, name="images")
    x = convolution(inputs, width, 3, 1, "stem")
    block = _bottleneck if depth == 50 else _basic
    for stage, blocks in enumerate(_STAGES[depth], 1):
        for number in range(blocks):
            # The first stage keeps the size: images of 32 pixels are small already.
            strides = 2 if stage > 1 and number == 0 else 1
            x = block(x, width * 2 ** (stage - 1), strides, f"layer{stage}_{number}")
    x = logits(layers.GlobalMaxPooling2D(name="head_pool")(x), classes)
    return keras.Model(inputs, x, name=name or f"preact_resnet{depth}")


def ResNet18ConcatPool(*, width=64, input_shape=None, classes=10, name="resnet18_concat_pool"):
    """Builds the network of Ben Johnson's DAWNBench entry (April 2018, 1 × V100, 340.6 s).

    Pre-activation blocks of 64, 128, 256 and 256 channels after a normalised stem; the head
    concatenates average and maximum. 5,205,962 parameters.

    Args:
        width: int, channels of the first stage; the others have 2, 4 and 4 times as many.
        input_shape, classes, name: as for `PreActResNet`.

    Returns:
        `keras.Model` from `(batch, height, width, 3)` to logits `(batch, classes)`.
    """
    _check_width(width)
    inputs = keras.Input(any_size() if input_shape is None else input_shape, name="images")
    x = normal_relu(convolution(inputs, width, 3, 1, "stem"), "stem")
    for stage, filters in enumerate((width, 2 * width, 4 * width, 4 * width), 1):
        for number in range(2):
            strides = 2 if stage > 1 and number == 0 else 1
            x = _basic(x, filters, strides, f"layer{stage}_{number}")
    x = logits(ConcatPooling2D("avg_max", name="head_pool")(x), classes)
    return keras.Model(inputs, x, name=name)


def _basic(x, filters, strides, name):
    active = normal_relu(x, f"{name}_1")
    # From the activated input, as in fast.ai's network.
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
    if strides == 1 and x.shape[channel_axis()] == filters:
        return x
    return convolution(active, filters, 1, strides, f"{name}_shortcut")


def _check_width(width):
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"`width` must be a whole number from 1 up, got {width!r}.")
