"""Wide residual networks (Zagoruyko & Komodakis, 2016, https://arxiv.org/abs/1605.07146)."""

from keras_dawn.models.blocks import cifar_size, convolution, normal_relu
from keras_dawn.models.heads import logits

import keras
from keras import layers


def WideResNet(
    depth=22,
    width=6,
    *,
    include_top=True,
    weights=None,
    input_shape=None,
    pooling=None,
    classes=10,
    classifier_activation=None,
    dropout=0.0,
    name=None,
):
    """Builds a pre-activation wide residual network for small images.

    `WideResNet(22, 6)` is the network of fast.ai's 2018 DAWNBench CIFAR-10 entries
    (`wrn_22` there, 9,658,458 trainable parameters). Layers, padding, batch
    normalisation and initialisation are those of that PyTorch model, so copied
    weights give the same outputs.

    Args:
        depth: int, number of convolutions on the longest path; `6 * n + 4` for n ≥ 1.
        width: int, widening factor; the three groups have 16, 32 and 64 times as many
            channels.
        include_top: bool, whether to end in global average pooling and a dense layer.
        weights: `None` for random initialisation, or the path of a weights file.
        input_shape: shape of one image without the batch axis, by default `(32, 32, 3)`
            (`(3, 32, 32)` under `channels_first`). Height and width may be `None`.
        pooling: `None`, `"avg"` or `"max"`, the global pooling when `include_top=False`.
        classes: int, number of classes when `include_top=True`.
        classifier_activation: activation of the last layer. The default, `None`, gives
            logits: train with `from_logits=True`.
        dropout: float in [0, 1), dropout rate between the two convolutions of a block.
        name: str, the model's name; `"wide_resnet_22_6"` by default.

    Returns:
        A `keras.Model` from images of shape `(batch, height, width, channels)` to
        `(batch, classes)` in float32 (in float64 under a float64 policy).

    Raises:
        ValueError: a depth that is not `6 * n + 4`, or another bad argument.

    Example:
        >>> model = keras_dawn.models.WideResNet(depth=10, width=1, classes=10)
        >>> model.output_shape
        (None, 10)
    """
    if not isinstance(depth, int) or depth < 10 or (depth - 4) % 6:
        raise ValueError(f"`depth` must be 6 * n + 4 with n ≥ 1 (10, 16, 22, 28, …), got {depth}.")
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"`width` must be a whole number from 1 up, got {width}.")
    if pooling not in (None, "avg", "max"):
        raise ValueError(f"`pooling` must be None, 'avg' or 'max', got {pooling!r}.")
    if include_top and (not isinstance(classes, int) or classes < 1):
        raise ValueError(f"`classes` must be a whole number from 1 up, got {classes!r}.")
    if not 0 <= dropout < 1:
        raise ValueError(f"`dropout` must be in [0, 1), got {dropout}.")

    inputs = keras.Input(cifar_size() if input_shape is None else input_shape, name="images")
    x = convolution(inputs, 16, 3, 1, "stem")
    channels = 16
    for group in range(3):
        filters = 16 * width * 2**group
        for block in range((depth - 4) // 6):
            strides = 2 if group > 0 and block == 0 else 1
            x = _block(x, channels, filters, strides, dropout, f"group{group + 1}_block{block + 1}")
            channels = filters
    x = normal_relu(x, "head")
    if include_top:
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
        x = logits(x, classes, classifier_activation)
    elif pooling == "avg":
        x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    elif pooling == "max":
        x = layers.GlobalMaxPooling2D(name="head_pool")(x)
    model = keras.Model(inputs, x, name=name or f"wide_resnet_{depth}_{width}")
    if weights is not None:
        model.load_weights(weights)
    return model


def _block(x, channels, filters, strides, dropout, name):
    """Two pre-activated 3×3 convolutions around a shortcut.

    Where the number of channels changes, the shortcut is a 1×1 convolution of the
    activated input; elsewhere it is the input itself.
    """
    activated = normal_relu(x, f"{name}_1")
    if channels != filters:
        # As in the reference network, by channels: with `width=1` the first group has a plain
        # shortcut.
        shortcut = convolution(activated, filters, 1, strides, f"{name}_shortcut")
    else:
        shortcut = x
    x = convolution(activated, filters, 3, strides, f"{name}_conv1")
    x = normal_relu(x, f"{name}_2")
    if dropout:
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    x = convolution(x, filters, 3, 1, f"{name}_conv2")
    return layers.Add(name=f"{name}_add")([shortcut, x])
