"""Axes of images, series and volumes: their sizes, and the zeros that Keras puts around them."""

from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.padding import pad_axes, pad_same, same_padding


def resolve_padding(builder, value, layer_format, padding, sizes, geometry, mode="constant"):
    """The image node and the padding that torch can apply itself.

    Args:
        value: the input `Value`; padding that waits there is used up if it fits.
        layer_format: the layer's `data_format`.
        padding: `"valid"`, `"same"` or, for one axis, `"causal"`.
        sizes: of the image's axes, `None` where unknown.
        geometry: `(kernel, stride, dilation)`, one number for each axis.
        mode: what "same" pads with: `"constant"` or `"replicate"`.
    """
    kernel, stride, dilation = geometry
    none = (0,) * len(kernel)
    if padding == "valid":
        in_order = value.torch_order == (layer_format == "channels_last")
        # A `ZeroPadding2D` before the convolution becomes its padding: no copy of the images.
        if value.padding is not None and mode == "constant" and in_order:
            return builder.image(value, layer_format, keep_padding=True), value.padding
        return builder.image(value, layer_format), none
    if padding == "causal" and len(kernel) == 1:
        before = (kernel[0] - 1) * dilation[0]
        return builder.call(pad_axes, builder.image(value, layer_format), ((before, 0),)), none
    if padding != "same":
        raise LoweringError(f"padding={padding!r}")
    node = builder.image(value, layer_format)
    # With steps of 1 "same" pads alike whatever the size is.
    if all(size is not None or step == 1 for size, step in zip(sizes, stride, strict=True)):
        pairs = [
            same_padding(size or 0, *setting)
            for size, *setting in zip(sizes, kernel, stride, dilation, strict=True)
        ]
        if all(before == after for before, after in pairs):
            return node, tuple(before for before, _ in pairs)
    return builder.call(pad_same, node, kernel, stride, dilation, mode), none


def axis_sizes(shape, data_format):
    """The sizes of the image's axes in a Keras shape: height and width, or the like."""
    return shape[1:-1] if data_format == "channels_last" else shape[2:]
