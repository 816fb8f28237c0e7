"""Pooling of series, images and volumes."""

from keras_dawn.foundation import keras_version
from keras_dawn.native.global_average import average_of_images
from keras_dawn.native.lowering.dtypes import is_float, result_type
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.images import axis_sizes, resolve_padding
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.padding import pad_same, same_padding

import torch
import torch.nn.functional as F
from keras import layers

HIGHEST = {3: torch.max_pool1d, 4: torch.max_pool2d, 5: torch.max_pool3d}
AVERAGE = {3: F.avg_pool1d, 4: F.avg_pool2d, 5: F.avg_pool3d}
AVERAGE_TO_SIZE = {
    3: torch.adaptive_avg_pool1d,
    4: F.adaptive_avg_pool2d,
    5: F.adaptive_avg_pool3d,
}
HIGHEST_AND_WHERE = {
    3: torch.adaptive_max_pool1d,
    4: torch._C._nn.adaptive_max_pool2d,
    5: torch._C._nn.adaptive_max_pool3d,
}


# Of averages with padding on a GPU: torch's issue 188344, mended in July 2026.
WRONG_GRADIENTS = torch.__version__ < (2, 14)


def _pool(builder, layer, inputs, call, functions, *rest):
    _check_mode(layer, "max" if functions is HIGHEST else "average")
    size, stride = tuple(layer.pool_size), tuple(layer.strides)
    (value,) = inputs
    torch_pads = functions is HIGHEST and _zeros_change_nothing(value, layer)
    if not torch_pads:
        value = builder.padded(value)
    node, padding = resolve_padding(
        builder,
        value,
        layer.data_format,
        layer.padding,
        axis_sizes(call.shapes[0], layer.data_format),
        (size, stride, (1,) * len(size)),
        # For "same" Keras replicates: the pixel at the edge counts once more.
        mode="constant" if torch_pads else "replicate",
    )
    function = functions[value.rank]
    if WRONG_GRADIENTS and functions is AVERAGE and any(padding):
        function, rest = padded_average, ()
    node = builder.call(function, node, size, stride, padding, *rest, name=call.name)
    return value.with_node(node, torch_order=layer.data_format == "channels_last")


def _check_mode(layer, mode):
    """Raises `LoweringError` where a layer was told to pool in another way than its class does."""
    if getattr(layer, "pool_mode", mode) != mode:
        raise LoweringError(f"pool_mode={layer.pool_mode!r}")


def _zeros_change_nothing(value, layer):
    """Whether zeros still to be added to an image change nothing of what is highest.

    They do not around what a ReLU has made: where a window has nothing but zeros, no gradient
    passes the ReLU, whichever of them is taken. So torch may pad, with what is below everything.
    """
    if value.padding is None or layer.padding != "valid" or value.node.target is not torch.relu:
        return False
    sizes = zip(value.padding, layer.pool_size, strict=True)
    return all(2 * zeros <= size for zeros, size in sizes)  # more torch does not pad


@rule(layers.MaxPooling1D, layers.MaxPooling2D, layers.MaxPooling3D)
def max_pooling(builder, layer, inputs, call):
    if not is_float(inputs[0].dtype):  # with the channels innermost torch fails for larger images
        raise LoweringError(f"of {inputs[0].dtype}")
    return _pool(builder, layer, inputs, call, HIGHEST)


def padded_average(images, kernel, stride, padding):
    """Averages over the pixels, not over the padding, with the gradient that belongs to them.

    torch before 2.14 gives another one, and says nothing, for series and images on a GPU whose
    channels lie innermost. Those are laid out by their axes first, as plain Keras does it.
    """
    average = AVERAGE[images.ndim]
    if not _has_wrong_gradient(images):
        return average(images, kernel, stride, padding, False, False)
    averages = average(images.contiguous(), kernel, stride, padding, False, False)
    if images.ndim != 4:
        return averages
    return averages.contiguous(memory_format=torch.channels_last)  # as the layers behind have it


def _has_wrong_gradient(images):
    return WRONG_GRADIENTS and images.is_cuda and images.ndim < 5 and not images.is_contiguous()


def average_of_pixels(images, kernel, stride):
    """Averages over the pixels under "same", not over the padding: Keras from 3.16 on."""
    padding = _same_on_both_sides(images, kernel, stride)
    if padding is not None:
        return padded_average(images, kernel, stride, padding)
    average = AVERAGE[images.ndim]
    counted = (pad_same(each, kernel, stride) for each in (images, torch.ones_like(images)))
    sums, counts = (average(each, kernel, stride) for each in counted)
    return sums / counts


def average_under_same(images, kernel, stride):
    """Averages under "same" of images whose sizes are known only when they come: Keras up to 3.15.

    Where an axis wants an odd number of pixels, those at the edges count once more; else padding
    does not count.
    """
    padding = _same_on_both_sides(images, kernel, stride)
    if padding is not None:
        return padded_average(images, kernel, stride, padding)
    images = pad_same(images, kernel, stride, mode="replicate")
    return AVERAGE[images.ndim](images, kernel, stride)


def _same_on_both_sides(images, kernel, stride):
    """The padding of each axis under "same", or `None` where one has more of it at its end."""
    sizes = zip(images.shape[2:], kernel, stride, strict=True)
    pairs = [same_padding(*each) for each in sizes]
    alike = all(before == after for before, after in pairs)
    return [before for before, _ in pairs] if alike else None


@rule(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
def average_pooling(builder, layer, inputs, call):
    of_pixels = keras_version.VERSION >= (3, 16)
    sizes = axis_sizes(call.shapes[0], layer.data_format)
    pairs = zip(sizes, layer.strides, strict=True)
    open_sizes = any(size is None and step > 1 for size, step in pairs)
    if layer.padding != "same" or not (of_pixels or open_sizes):
        return _pool(builder, layer, inputs, call, AVERAGE, False, False)
    _check_mode(layer, "average")
    value = builder.padded(inputs[0])
    node = builder.image(value, layer.data_format)
    function = average_of_pixels if of_pixels else average_under_same
    geometry = tuple(layer.pool_size), tuple(layer.strides)
    node = builder.call(function, node, *geometry, name=call.name)
    return value.with_node(node, torch_order=layer.data_format == "channels_last")


def _global_pool(builder, layer, value, call, function):
    node = builder.image(value, layer.data_format)
    axes = tuple(range(2, value.rank))
    node = builder.call(function, node, axes, bool(layer.keepdims), name=call.name)
    rank = value.rank if layer.keepdims else 2
    keeps = layer.keepdims and layer.data_format == "channels_last"
    return value.with_node(node, rank=rank, torch_order=keeps)


@rule(layers.GlobalAveragePooling1D, arguments=True)
def average_of_series(builder, layer, inputs, call):
    value, mask = call.arguments["inputs"], call.arguments["mask"]
    if mask is None:
        return average_of_all(builder, layer, [value], call)
    if not is_float(value.dtype):
        raise LoweringError(f"a mask and {value.dtype}")
    keeps = bool(layer.keepdims)
    images, mask = builder.image(value, layer.data_format), builder.tensor(mask)
    node = builder.call(average_of_unmasked, images, mask, keeps, name=call.name)
    in_torch_order = keeps and layer.data_format == "channels_last"
    return value.with_node(node, rank=3 if keeps else 2, torch_order=in_torch_order)


@rule(layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D)
def average_of_all(builder, layer, inputs, call):
    (value,) = inputs
    if not is_float(value.dtype):
        value = builder.to(value, result_type(value.dtype, "float32"))
    return _global_pool(builder, layer, value, call, mean_of(call))


def mean_of(call):
    """What averages over pixels: in training a mean whose gradient lies as the images do."""
    return average_of_images if call.training else torch.mean


def average_of_unmasked(series, mask, keepdims):
    """Averages over time of series `(batch, channels, time)`, where a mask is set.

    The mask, `(batch, time)`, may be `None`.
    """
    if mask is None:
        return torch.mean(series, 2, keepdims)
    mask = mask.bool().unsqueeze(1)
    total = torch.where(mask, series, 0).sum(2, keepdim=keepdims)
    return total / mask.to(series.dtype).sum(2, keepdim=keepdims)


@rule(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.GlobalMaxPooling3D)
def global_max_pooling(builder, layer, inputs, call):
    return _global_pool(builder, layer, inputs[0], call, torch.amax)


def _to_size(builder, layer, inputs, call, function):
    (value,) = inputs
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    size = tuple(layer.output_size)
    if len(size) != value.rank - 2:
        raise LoweringError(f"{len(size)} sizes for {value.rank} axes")
    node = builder.call(function, builder.image(value, layer.data_format), size, name=call.name)
    return value.with_node(node, torch_order=layer.data_format == "channels_last")


@rule(
    layers.AdaptiveAveragePooling1D,
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
)
def average_to_size(builder, layer, inputs, call):
    return _to_size(builder, layer, inputs, call, AVERAGE_TO_SIZE[inputs[0].rank])


@rule(layers.AdaptiveMaxPooling1D, layers.AdaptiveMaxPooling2D, layers.AdaptiveMaxPooling3D)
def highest_to_size(builder, layer, inputs, call):
    return _to_size(builder, layer, inputs, call, highest_of_each_part)


def highest_of_each_part(images, size):
    """The highest numbers of images `(batch, channels, *axes)` in a grid of `size` parts."""
    highest, _ = HIGHEST_AND_WHERE[images.ndim](images, size)
    return highest
