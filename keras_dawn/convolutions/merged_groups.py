"""Convolutions in many groups of few channels as ones in fewer groups, with zeros between."""

from dataclasses import replace

from keras_dawn.convolutions.torchs_own import TorchsOwn
from keras_dawn.convolutions.way import Way, dense, planes, rows

_OWN = TorchsOwn("torch")
WIDTH = 32  # channels of a group that are worth an own product of the processor


class MergedGroups(Way):
    """Groups put together until each has `WIDTH` channels and filters.

    The kernels are zero where a filter now sees a channel of another group: more is multiplied, in
    pieces that a processor with products of tiles is much faster with.
    """

    def fits(self, sizes):
        return sizes.groups > 1 and not sizes.is_depthwise and _how_many(sizes) > 1

    def forward(self, images, weight, sizes):
        return _OWN.forward(images, _spread(weight, sizes), _merged(sizes))

    def to_input(self, change, weight, sizes):
        return _OWN.to_input(change, _spread(weight, sizes), _merged(sizes))

    def to_weight(self, images, change, sizes):
        found = _OWN.to_weight(images, change, _merged(sizes))
        return planes(_blocks(rows(dense(found)), sizes).contiguous().view(_in_rows(sizes)))


def _how_many(sizes):
    """How many groups become one: as many as divide their number."""
    least = min(sizes.channels, sizes.filters) // sizes.groups
    counts = (n for n in range(1, sizes.groups + 1) if sizes.groups % n == 0)
    return next((n for n in counts if n * least >= WIDTH), sizes.groups)


def _merged(sizes):
    return replace(sizes, groups=sizes.groups // _how_many(sizes))


def _in_rows(sizes):
    return (sizes.filters, *sizes.kernel, sizes.channels // sizes.groups)


def _spread(weight, sizes):
    """The kernel of the merged groups, channels innermost."""
    filters, height, width, channels = _in_rows(sizes)
    wide = weight.new_zeros(filters, height, width, channels * _how_many(sizes))
    blocks = _blocks(wide, sizes)
    blocks.copy_(rows(weight).view(blocks.shape))
    return planes(wide)


def _blocks(wide, sizes):
    """What of a merged kernel is not zero: `(merged, joined, filters, rows, columns, channels)`."""
    joined = _how_many(sizes)
    filters, height, width, channels = _in_rows(sizes)
    each = filters // sizes.groups
    split = wide.view(-1, joined, each, height, width, joined, channels)
    # The diagonal of both axes of groups comes last.
    return split.diagonal(dim1=1, dim2=5).movedim(-1, 1)
