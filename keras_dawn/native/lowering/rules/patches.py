"""`keras.ops.image.extract_patches`, where patches do not overlap."""

from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.values import LoweringError, Value


@rule("keras.src.ops.image.ExtractPatches")
def extract_patches(builder, operation, inputs, call):
    """Keras convolves with a kernel of ones and zeros; side by side, patches are a permutation."""
    if call.kwargs or len(call.args) != 1 or not isinstance(call.args[0], Value):
        raise LoweringError("operands that are no tensors")
    (value,) = call.args
    size, strides = _pair(operation.size), _pair(operation.strides)
    if len(size) != 2 or value.rank != 4 or operation.data_format != "channels_last":
        raise LoweringError("patches of volumes, of one image, or channels first")
    if strides != size or operation.padding != "valid" or _pair(operation.dilation_rate) != (1, 1):
        raise LoweringError("patches that overlap, with gaps, or padded")
    if not is_float(value.dtype):
        raise LoweringError(f"patches of {value.dtype}")
    node = builder.call(patches_beside, builder.keras_order(value), *size, name=call.name)
    return value.with_node(node, torch_order=False)


def _pair(size):
    return (size, size) if isinstance(size, int) else tuple(size)


def patches_beside(images, height, width):
    """Patches that do not overlap, a vector each.

    Args:
        images: float tensor (batch, height, width, channels); what is left over at the lower and
            right edge is left out.
        height, width: ints, of a patch.

    Returns:
        Tensor (batch, rows, columns, height of a patch × width × channels).
    """
    batch, rows, columns, channels = images.shape
    rows, columns = rows // height, columns // width
    images = images[:, : rows * height, : columns * width]
    images = images.reshape(batch, rows, height, columns, width, channels)
    return images.permute(0, 1, 3, 2, 4, 5).reshape(batch, rows, columns, -1)
