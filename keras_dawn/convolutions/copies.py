"""Windows of images copied to the rows of a matrix, and how large such copies may be."""

import math

from keras_dawn.convolutions.way import rows

import torch.nn.functional as F

MOST_BYTES = 32 * 2**20  # how large a copy may be; above it some images at a time are copied
LEAST_BYTES = 7 * 2**19  # no copy is made in smaller parts: products would be slow


def room(stage, sizes, like):
    """Bytes of copies that a stage may have for a step to peak about where torch's own does.

    What counts is what a step has in memory at other times, beyond what it keeps and the gradient
    of this result. Just before, there were another gradient like it and what the layer above had
    kept to compute it, such as the result of a ReLU. And torch's own computes both gradients in
    one call, with three tensors as large as the weights in memory, of which one is the gradient
    to them. Here that gradient comes first, and that to the images begins with a copy of the
    weights. The result is computed while all of this is still to come, by products or
    convolutions that copy the weights. A third of the images more is about a twentieth of what a
    step of three such layers has in memory.

    Args:
        stage: `"forward"`, `"to_input"` or `"to_weight"`.
        sizes: `Sizes`.
        like: tensor of the precision.
    """
    weight, images, found = (
        stage_bytes(one, sizes, like) for one in ("to_weight", "to_input", "forward")
    )
    most = max(2 * found, images + 3 * weight) + images // 3
    most -= images + 2 * weight if stage == "to_input" else weight
    return min(MOST_BYTES, max(LEAST_BYTES, most))


def stage_bytes(stage, sizes, like):
    """Bytes of what a stage gives."""
    return math.prod(sizes.shape(stage)) * like.element_size()


def forward_windows(images, sizes):
    """The windows of a convolution's images, `(batch · result, kernel · channels)`: a copy."""
    down, across = sizes.padding
    padding = down, down, across, across
    settings = sizes.kernel, sizes.stride, sizes.dilation
    return windows(rows(images), padding, sizes.result, *settings)


def windows(images, padding, result, kernel, stride=(1, 1), dilation=(1, 1)):
    """Windows copied to the rows of a matrix.

    Args:
        images: tensor `(batch, height, width, channels)`, dense.
        padding: zeros `(above, below, left, right)`; pixels are cut off where it is negative.
        result: `(height, width)`, how many windows.
        kernel, stride, dilation: `(rows, columns)`.

    Returns:
        Tensor `(batch · result, kernel · channels)`.
    """
    if any(padding):
        above, below, left, right = padding
        # Where an axis has a size of 1, its stride may make torch fill memory in another order.
        images = F.pad(images, (0, 0, left, right, above, below)).contiguous()
    batch, height, width, channels = images.shape
    row, image = width * channels, height * width * channels
    if dilation[1] == 1:  # each row of a window lies in one piece
        sizes, steps = (kernel[0], kernel[1] * channels), (dilation[0] * row, 1)
    else:
        sizes = *kernel, channels
        steps = dilation[0] * row, dilation[1] * channels, 1
    places = image, stride[0] * row, stride[1] * channels
    # A view in which windows overlap; the `reshape` after it is the one copy.
    view = images.as_strided((batch, *result, *sizes), (*places, *steps))
    return view.reshape(batch * result[0] * result[1], kernel[0] * kernel[1] * channels)


def parts(tensors, bytes_an_image, most_bytes):
    """The tensors, some images at a time: as many as may be copied at once, of about one number.

    Args:
        tensors: tensors with the batch first.
        bytes_an_image: int, what the windows of one image take.
        most_bytes: int.
    """
    batch = len(tensors[0])
    count = min(batch, -(-batch * bytes_an_image // most_bytes))
    at_once = -(-batch // count)
    yield from zip(*(tensor.split(at_once) for tensor in tensors), strict=True)
