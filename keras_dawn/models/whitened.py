"""The network of Keller Jordan's CIFAR-10 records: a whitening stem, three groups, no shortcuts."""

import functools

from keras_dawn.models.blocks import channel_axis, cifar_size
from keras_dawn.models.heads import scaled_logits
from keras_dawn.models.initializers import IdentityFilters
from keras_dawn.models.layers import PaddingForPooling2D, Scale
from keras_dawn.models.winograd import WinogradConv2D

import keras
import torch
from keras import layers

WHITENING = "whitening"  # the name of the first layer


def WhitenedConvNet(
    widths=(64, 256, 256),
    *,
    input_shape=None,
    classes=10,
    scale=1 / 9,
    activation="gelu",
    stem_activation=None,
    normalization_momentum=0.6,
    whitening_bias=False,
    shortcuts=False,
    gates=(),
    winograd=False,
    name="whitened_conv_net",
):
    """Builds the network of airbench94 (Jordan 2024, arXiv:2404.00498).

    A fixed 2 × 2 convolution that whitens patches (`whiten` sets it from images), then for each
    width: convolution, maximum over 2 × 2, normalisation, activation, convolution, normalisation,
    activation; the maximum of what is left, and scaled logits without bias. Convolutions begin
    as identities; normalisation has no trainable scale and follows its batches fast. Convolutions
    before a maximum leave out the last row and column that it would drop (`PaddingForPooling2D`):
    11 % of the multiplications at 32 pixels a side, 15 % at 24.

    A group of three widths ends with a third convolution, to whose normalised output that of the
    first is added before the activation, as in airbench96 (same paper). What `shortcuts` and
    `gates` add is not Jordan's; it costs next to no multiplications and, in the record recipe's
    network on a CPU, a few percent of a step's time.

    Args:
        widths: channels of the groups: for each an int, or one for each of its two or three
            convolutions; of three, the last is the first.
        input_shape: shape of one image, from `2 ** len(widths) + 1` pixels a side up, or with
            `None`s; by default `(32, 32, 3)` (`(3, 32, 32)` under `channels_first`).
        classes: int.
        scale: float, what the logits are multiplied by.
        activation: name or callable.
        stem_activation: name or callable, of the stem; by default the same.
        normalization_momentum: float in [0, 1), of the moving averages in batch normalisation.
        whitening_bias: bool, whether the stem has a bias that is trained. A model of such a stem
            that was loaded needs `freeze(model, "^whitening/kernel")`.
        shortcuts: bool, whether groups of two equal widths add the first convolution's output to
            the second's, too.
        gates: numbers of groups, from 1, whose channels are multiplied at the end by twice the
            sigmoid of a dense layer of their means over the image: squeeze and excitation (Hu et
            al. 2018, arXiv:1709.01507) in one layer, which begins at about 1.
        winograd: bool, whether convolutions are `WinogradConv2D`: on a processor in float32, images
            of up to 16 pixels a side take fewer multiplications.
        name: str.

    Returns:
        `keras.Model` from `(batch, height, width, 3)` to logits `(batch, classes)`.

    Raises:
        ValueError: widths of a group that do not fit, or a gate for a group that is not there.

    Example:
        >>> model = keras_dawn.models.WhitenedConvNet()
        >>> model.output_shape, sum(w.value.numel() for w in model.trainable_weights)
        ((None, 10), 1971328)
    """
    if not set(gates) <= set(range(1, len(widths) + 1)):
        raise ValueError(f"`gates` must be of groups from 1 to {len(widths)}, got {gates}.")
    inputs = keras.Input(cifar_size() if input_shape is None else input_shape, name="images")
    channels = inputs.shape[channel_axis()]
    stem = layers.Conv2D(
        8 * channels, 2, use_bias=whitening_bias, trainable=whitening_bias, name=WHITENING
    )
    x = stem(inputs)
    # The kernel alone, beside a bias; Keras saves which layers are trained, and not which weights.
    stem.kernel.trainable = False
    x = layers.Activation(stem_activation or activation, name="stem_activation")(x)
    normal = functools.partial(_normal, activation, normalization_momentum)
    convolution = WinogradConv2D if winograd else layers.Conv2D
    for number, (first, second, *third) in enumerate(map(_widths_of_group, widths), 1):
        x = PaddingForPooling2D(name=f"group{number}_padding")(x)
        x = _convolution(convolution, x, first, "valid", f"group{number}_conv1")
        x = layers.MaxPooling2D(2, name=f"group{number}_pool")(x)
        x = shortcut = normal(x, f"group{number}_1")
        x = _convolution(convolution, x, second, "same", f"group{number}_conv2")
        ends = shortcuts and not third and first == second
        x = normal(x, f"group{number}_2", shortcut if ends else None)
        if third:
            x = _convolution(convolution, x, *third, "same", f"group{number}_conv3")
            x = normal(x, f"group{number}_3", shortcut)
        if number in gates:
            x = _gated(x, f"group{number}_gate")
    return keras.Model(inputs, scaled_logits(x, classes, scale), name=name)


def whiten(model, images, epsilon=5e-4):
    """Sets the stem of a `WhitenedConvNet` to whiten the patches of these images.

    Filters are the eigenvectors of the patches' second moments over the square roots of their
    eigenvalues, the largest first, and the same with the opposite sign.

    Args:
        model: `keras.Model` with a layer named `whitening`.
        images: float tensor `(count, height, width, channels)` (or channels first), as the model
            takes them; a few thousand are enough.
        epsilon: float, added to the eigenvalues.

    Raises:
        ValueError: no such layer, or images of other channels.

    Example:
        >>> model = keras_dawn.models.WhitenedConvNet()
        >>> keras_dawn.models.whiten(model, torch.rand(8, 32, 32, 3))
    """
    if WHITENING not in [layer.name for layer in model.layers]:
        raise ValueError(f"{model.name} has no layer named {WHITENING!r}.")
    stem = model.get_layer(WHITENING)
    kernel, last = stem.kernel, stem.data_format == "channels_last"
    height, width, channels, _ = kernel.shape
    if images.ndim != 4 or images.shape[-1 if last else 1] != channels:
        sizes = f"height, width, {channels}" if last else f"{channels}, height, width"
        raise ValueError(f"`images` must be of shape (count, {sizes}), got {tuple(images.shape)}.")
    images = images if last else images.movedim(1, -1)
    # In float64: the smallest eigenvalues are far below the largest, and are divided by.
    patches = images.detach().double().unfold(1, height, 1).unfold(2, width, 1)
    patches = patches.permute(0, 1, 2, 4, 5, 3).reshape(-1, height * width * channels)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / (values + epsilon).sqrt()).flip(1)
    filters = torch.cat([filters, -filters], 1).reshape(kernel.shape)
    kernel.assign(filters.to(torch.float32))


def _widths_of_group(widths):
    widths = (widths, widths) if isinstance(widths, int) else tuple(widths)
    if len(widths) not in (2, 3) or any(width < 1 for width in widths):
        raise ValueError(
            f"A group has an int, or two or three of them, from 1 up, as widths; got {widths}."
        )
    if len(widths) == 3 and widths[0] != widths[2]:
        raise ValueError(
            f"The third convolution of a group adds to the first, so it is as wide; got {widths}."
        )
    return widths


def _convolution(convolution, x, width, padding, name):
    return convolution(
        width, 3, padding=padding, use_bias=False, kernel_initializer=IdentityFilters(), name=name
    )(x)


def _normal(activation, momentum, x, name, shortcut=None):
    # Jordan's settings: a training of 8 epochs is over before a momentum of 0.99 has caught up.
    normalization = layers.BatchNormalization(
        axis=channel_axis(), momentum=momentum, epsilon=1e-12, scale=False, name=f"{name}_bn"
    )
    x = normalization(x)
    if shortcut is not None:
        x = layers.Add(name=f"{name}_sum")([x, shortcut])
    return layers.Activation(activation, name=f"{name}_activation")(x)


def _gated(x, name):
    channels, last = x.shape[channel_axis()], channel_axis() == -1
    # A dense layer is one of the last axis.
    means = layers.GlobalAveragePooling2D(keepdims=last, name=f"{name}_means")(x)
    gate = layers.Dense(channels, activation="sigmoid", kernel_initializer="orthogonal", name=name)(
        means
    )
    if not last:
        gate = layers.Reshape((channels, 1, 1), name=f"{name}_planes")(gate)
    # A sigmoid begins at about a half.
    return Scale(2.0, name=f"{name}_scale")(layers.Multiply(name=f"{name}d")([x, gate]))
