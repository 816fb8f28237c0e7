"""The gradient to a convolution's weights, some places of the kernel at a time."""

from keras_dawn.convolutions.way import columns, planes, rows


def to_weight_by_taps(images, change, sizes, at_once, transposes):
    """The gradient to the weights, of all images at once, a product for each part of the kernel.

    Nothing is added up, as it has to be where images are taken a few at a time: that costs more
    than the products where the weights are about as many as the pixels.

    Args:
        images, change, sizes: as of `Way.to_weight`.
        at_once: int, how many places of the kernel go into a product: one, or those of a row.
        transposes: bool, whether the result's gradient is transposed by a copy first.
    """
    transposed = columns(change, transposes)
    places = [(i, j) for i in range(sizes.kernel[0]) for j in range(sizes.kernel[1])]
    found = images.new_empty(sizes.filters, len(places), sizes.channels)
    copied = images.new_empty(sizes.batch, *sizes.result, at_once, sizes.channels)
    matrix = copied.view(-1, at_once * sizes.channels)
    for start in range(0, len(places), at_once):
        taps = places[start : start + at_once]
        for number, tap in enumerate(taps):
            _copy(rows(images), copied[:, :, :, number], tap, sizes)
        found[:, start : start + at_once] = (transposed @ matrix).view(-1, at_once, sizes.channels)
    return planes(found.view(sizes.filters, *sizes.kernel, sizes.channels))


def _copy(images, target, tap, sizes):
    """The pixels that a place of the kernel meets, one for each of the result, zeros around."""
    height, width = sizes.result
    (top, bottom, down), (left, right, across) = (
        _met(*axis, place, result)
        for axis, place, result in zip(sizes.axes(), tap, sizes.result, strict=True)
    )
    target[:, top:bottom, left:right] = images[:, down, across]
    for outside in (slice(0, top), slice(bottom, height)):
        target[:, outside].zero_()
    for outside in (slice(0, left), slice(right, width)):
        target[:, top:bottom, outside].zero_()


def _met(size, _, stride, padding, dilation, place, result):
    """`(start, stop, pixels)`: those of the result for which a place of the kernel meets pixels."""
    shift = place * dilation - padding
    start = min(result, max(0, -(shift // stride)))
    stop = max(start, min(result, (size - 1 - shift) // stride + 1))
    first = start * stride + shift
    last = (stop - 1) * stride + shift
    return start, stop, slice(first, last + 1, stride) if stop > start else slice(0, 0)
