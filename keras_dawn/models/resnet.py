"""Residual networks for photos (He et al., 2015, https://arxiv.org/abs/1512.03385), v1.5."""

from keras_dawn.models.heads import logits
from keras_dawn.models.pretrained import NAMES, load_pretrained

import keras
from keras import layers

_STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def ResNet18(**arguments):
    """ResNet-18, 11,689,512 parameters for 1,000 classes; see `ResNet`."""
    return ResNet(18, **arguments)


def ResNet34(**arguments):
    """ResNet-34, 21,797,672 parameters for 1,000 classes; see `ResNet`."""
    return ResNet(34, **arguments)


def ResNet50(**arguments):
    """ResNet-50 v1.5, 25,557,032 parameters for 1,000 classes; see `ResNet`."""
    return ResNet(50, **arguments)


def ResNet(
    depth=50,
    *,
    input_shape=None,
    classes=1000,
    include_top=True,
    weights=None,
    classifier_activation=None,
    zero_init_gamma=False,
    blur_pool=False,
    resnet_d=False,
    activation="relu",
    name=None,
):
    """Builds a residual network, the same layers as torchvision's, for images of any size.

    Version 1.5: the stride of a bottleneck is on its 3×3 convolution. With weights copied
    from torchvision's `resnet50` it gives the same outputs; layers are named like its modules
    (`layer1.0.conv1` is `layer1_0_conv1` here). `keras.applications.ResNet50` is version 1,
    with biases and another epsilon.

    Args:
        depth: 18, 34, 50 or 101.
        input_shape: shape of one image without the batch axis, by default any height and
            width with three channels.
        classes: int.
        include_top: bool, whether to end in global average pooling and a dense layer.
        weights: `None`; `"imagenet"`, torchvision's (`"imagenet_v1"` for its older ones of
            ResNet-50 and 101), downloaded once and checked; or the path of a file of torchvision's
            weights (`.pth`) or of Keras's. With another number of classes the last layer begins
            anew.
        classifier_activation: activation of the last layer; the default gives logits.
        zero_init_gamma: bool, whether each block starts as the identity (Goyal et al. 2017).
        blur_pool: bool, whether to blur before convolutions of stride 2 with 16 channels or
            more (Zhang 2019, https://arxiv.org/abs/1904.11486).
        resnet_d: bool, three 3×3 convolutions as stem and average pooling in shortcuts (He et
            al. 2018, https://arxiv.org/abs/1812.01187).
        activation: str, the name of an activation of Keras's, such as `"mish"` (Misra 2019,
            https://arxiv.org/abs/1908.08681). With another one than `"relu"` the maxima behind the
            stem are of windows that begin at the border, and not a pixel before it as torch's do.
        name: str, by default `resnet50` and so on.

    Returns:
        `keras.Model` from `(batch, height, width, channels)` to `(batch, classes)`.

    Raises:
        ValueError: an unknown depth or activation, or weights of another network.
        OSError: weights that are not there and cannot be downloaded.

    Example:
        >>> model = keras_dawn.models.ResNet(18, classes=10)
        >>> model.output_shape
        (None, 10)
    """
    if depth not in _STAGES:
        raise ValueError(f"`depth` must be one of {sorted(_STAGES)}, got {depth!r}.")
    if weights in NAMES and (blur_pool or resnet_d):
        raise ValueError(f"weights={weights!r} are of networks without blur_pool and resnet_d.")
    if weights in NAMES and activation != "relu":
        raise ValueError(f"weights={weights!r} are of networks with ReLU, got {activation!r}.")
    if activation != "relu" and str(weights).endswith((".pth", ".pt")):
        raise ValueError(
            f"With activation={activation!r} the maxima behind the stem are of other windows than "
            f"in torch, and torch's weights ({weights}) would give other answers. Load weights "
            "that this network has saved."
        )
    if not isinstance(activation, str):
        raise ValueError(f"`activation` must be the name of one of Keras's, got {activation!r}.")
    channels_last = keras.config.image_data_format() == "channels_last"
    if input_shape is None:
        input_shape = (None, None, 3) if channels_last else (3, None, None)
    axis = -1 if channels_last else 1
    parts = _Parts(blur_pool, resnet_d, zero_init_gamma, activation, axis)
    block = parts.bottleneck if depth >= 50 else parts.basic
    inputs = keras.Input(shape=input_shape, name="images")
    x = parts.stem(inputs)
    for stage, blocks in enumerate(_STAGES[depth], 1):
        for number in range(blocks):
            strides = 2 if stage > 1 and number == 0 else 1
            x = block(x, 64 * 2 ** (stage - 1), strides, f"layer{stage}_{number}")
    if include_top:
        x = logits(layers.GlobalAveragePooling2D(name="avgpool")(x), classes, classifier_activation)
    model = keras.Model(inputs, x, name=name or f"resnet{depth}")
    if weights is not None:
        load_pretrained(model, weights, depth)
    return model


class _Parts:
    """The blocks, with the options that all of them share."""

    def __init__(self, blur_pool, resnet_d, zero_init_gamma, activation, axis):
        self.blur_pool, self.resnet_d = blur_pool, resnet_d
        self.zero_init_gamma, self.activation, self.axis = zero_init_gamma, activation, axis

    def stem(self, x):
        if self.resnet_d:
            for number, (filters, strides) in enumerate(((32, 2), (32, 1), (64, 1)), 1):
                x = self.convolution(x, filters, 3, strides, f"stem_conv{number}")
                x = self.active(self.normal(x, f"stem_bn{number}"), "stem", number)
        else:
            x = self.convolution(x, 64, 7, 2, "conv1")
            x = self.active(self.normal(x, "bn1"))
        if self.activation != "relu":  # a maximum below 0 would lose to the zeros of a padding
            return layers.MaxPooling2D(3, 2, "same", name="maxpool")(x)
        x = layers.ZeroPadding2D(1, name="maxpool_pad")(x)  # zeros are below no activation
        return layers.MaxPooling2D(3, 2, name="maxpool")(x)

    def basic(self, x, filters, strides, name):
        shortcut = self.shortcut(x, filters, strides, name)
        x = self.convolution(x, filters, 3, strides, f"{name}_conv1")
        x = self.active(self.normal(x, f"{name}_bn1"), name, 1)
        x = self.convolution(x, filters, 3, 1, f"{name}_conv2")
        return self.join(self.normal(x, f"{name}_bn2", last=True), shortcut, name)

    def bottleneck(self, x, filters, strides, name):
        shortcut = self.shortcut(x, 4 * filters, strides, name)
        x = self.convolution(x, filters, 1, 1, f"{name}_conv1")
        x = self.active(self.normal(x, f"{name}_bn1"), name, 1)
        x = self.convolution(x, filters, 3, strides, f"{name}_conv2")
        x = self.active(self.normal(x, f"{name}_bn2"), name, 2)
        x = self.convolution(x, 4 * filters, 1, 1, f"{name}_conv3")
        return self.join(self.normal(x, f"{name}_bn3", last=True), shortcut, name)

    def shortcut(self, x, filters, strides, name):
        if x.shape[self.axis] == filters and strides == 1:
            return x
        if self.resnet_d and strides > 1:
            # A 1 × 1 convolution of stride 2 would throw three of four pixels away.
            x = layers.AveragePooling2D(2, 2, "same", name=f"{name}_downsample_pool")(x)
            strides = 1
        x = self.convolution(x, filters, 1, strides, f"{name}_downsample_0")
        return self.normal(x, f"{name}_downsample_1")

    def join(self, x, shortcut, name):
        x = layers.Add(name=f"{name}_add")([x, shortcut])
        return self.active(x, name)

    def active(self, x, name="", number=""):
        name = f"{name}_{self.activation}{number}".removeprefix("_")
        if self.activation == "relu":
            return layers.ReLU(name=name)(x)
        return layers.Activation(self.activation, name=name)(x)

    def convolution(self, x, filters, kernel_size, strides, name):
        if self.blur_pool and strides > 1 and x.shape[self.axis] >= 16:
            x = self.blur(x, f"{name}_blur")
        if kernel_size > 1:  # torch pads both sides, Keras's "same" one when striding
            x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x)
        return layers.Conv2D(
            filters,
            kernel_size,
            strides,
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            name=name,
        )(x)

    def blur(self, x, name):
        blur = layers.DepthwiseConv2D(
            3,
            use_bias=False,
            depthwise_initializer=_binomial,
            # A fixed filter, in the model's weights all the same: files of weights hold it.
            trainable=False,
            name=name,
        )
        return blur(layers.ZeroPadding2D(1, name=f"{name}_pad")(x))

    def normal(self, x, name, last=False):
        return layers.BatchNormalization(
            axis=self.axis,
            momentum=0.9,
            epsilon=1e-5,
            gamma_initializer="zeros" if last and self.zero_init_gamma else "ones",
            name=name,
        )(x)


@keras.saving.register_keras_serializable(package="keras_dawn")
def _binomial(shape, dtype=None):
    """The 3×3 blur with weights 1, 2, 1 in each direction, as a depthwise kernel."""
    line = keras.ops.convert_to_tensor([0.25, 0.5, 0.25], dtype)
    kernel = keras.ops.reshape(line[:, None] * line[None, :], (3, 3, 1, 1))
    return keras.ops.tile(kernel, (1, 1, *shape[2:]))
