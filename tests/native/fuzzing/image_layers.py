"""Layers of images, with settings of all kinds."""

from tests.native.fuzzing.draw import call
from tests.native.fuzzing.settings import extras, kernel


def image_format(d):
    return d.maybe(0.05, "channels_first", "channels_last")


def window(d):
    size = d.pick(1, 2, 3, 3, (2, 3), (3, 1))
    strides = d.maybe(0.35, 2, 2, (1, 2), 3)
    strides = strides if strides is None or size != 1 or d.chance(0.5) else None
    return size, strides, d.maybe(0.6, "same", "valid")


def conv2d(d, shape):
    size, strides, padding = window(d)
    channels = shape[-1]
    groups = d.maybe(0.2, *[n for n in (1, 2, 3, channels) if channels % n == 0])
    filters = d.pick(2, 3, 4) * (groups or 1) if (groups or 1) < 3 else groups
    dilation = d.maybe(0.15, 2, (1, 2)) if strides is None else None
    settings = {"groups": groups, "dilation_rate": dilation, "data_format": image_format(d)}
    return call(
        "layers.Conv2D",
        filters,
        size,
        strides=strides,
        padding=padding,
        **settings,
        **kernel(d),
        **extras(d),
    )


def depthwise(d, shape):
    size, strides, padding = window(d)
    strides = None if isinstance(strides, tuple) else strides
    settings = {"depth_multiplier": d.maybe(0.4, 2, 3), "data_format": image_format(d)}
    settings["dilation_rate"] = d.maybe(0.1, 2) if strides is None else None
    name = "layers.DepthwiseConv2D"
    return call(name, size, strides=strides, padding=padding, **settings, **kernel(d))


def separable(d, shape):
    size, strides, padding = window(d)
    strides = None if isinstance(strides, tuple) else strides
    settings = {"depth_multiplier": d.maybe(0.4, 2), "data_format": image_format(d)}
    name = "layers.SeparableConv2D"
    return call(
        name, d.pick(2, 3, 4), size, strides=strides, padding=padding, **settings, **kernel(d)
    )


def transposed(d, shape):
    padding = d.pick("same", "valid")
    return call(
        "layers.Conv2DTranspose", d.pick(2, 3), d.pick(2, 3), strides=d.pick(1, 2), padding=padding
    )


def pool2d(d, shape):
    size = d.pick(2, 2, 3, (1, 2))
    kind = d.pick("layers.MaxPooling2D", "layers.AveragePooling2D")
    settings = {"strides": d.maybe(0.5, 1, 2), "padding": d.maybe(0.4, "same")}
    return call(kind, size, **settings, data_format=image_format(d))


def global_pool2d(d, shape):
    kind = d.pick("layers.GlobalAveragePooling2D", "layers.GlobalMaxPooling2D")
    return call(kind, keepdims=d.maybe(0.3, True), data_format=image_format(d))


def zero_padding(d, shape):
    amount = d.pick(1, 2, (1, 0), ((1, 1), (1, 1)), ((0, 1), (2, 0)))
    return call("layers.ZeroPadding2D", amount, data_format=image_format(d))


def cropping(d, shape):
    amount = d.pick(1, (1, 0), ((0, 1), (1, 0)))
    return call("layers.Cropping2D", amount, data_format=image_format(d))


def up_sampling(d, shape):
    method = d.maybe(0.3, "bilinear")
    return call("layers.UpSampling2D", d.pick(2, (1, 2)), interpolation=method)


def ours(d, shape):
    """The package's own layers."""
    choices = (
        call("keras_dawn.models.ConcatPooling2D", order=d.maybe(0.3, "max_avg")),
        call("keras_dawn.models.PaddingForPooling2D"),
        call("keras_dawn.models.Scale", 0.5),
        call("keras_dawn.models.WinogradConv2D", 2, 3, padding=d.maybe(0.5, "same")),
    )
    return d.pick(*choices)
