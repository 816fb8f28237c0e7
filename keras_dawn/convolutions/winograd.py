"""3 × 3 convolutions of small images by Winograd's minimal filtering."""

import functools
from typing import NamedTuple

from keras_dawn.convolutions.precisions import products_are_rounded
from keras_dawn.convolutions.torchs_own import turned
from keras_dawn.convolutions.way import PLAIN, Way, empty, planes, rows

import torch

_POINTS = (0, 1, -1, 2, -2, 0.5, -0.5, 0.75, -0.75)  # where polynomials are evaluated, and at ∞
TILE = 8  # pixels a side of the result, at most, that one tile gives
EXACT_TILE = 6  # that lose hardly any precision
SMALLEST, LARGEST = 3, 2 * TILE  # pixels a side of the result that are worth it
FEWEST = 64  # channels, of the images and of the result


def winograd_conv2d(images, weight, bias=None, padding=0):
    """`torch.conv2d` with a 3 × 3 kernel, by Winograd's minimal filtering where that pays.

    Args:
        images: float tensor `(batch, channels, height, width)`, in channels_last memory format.
        weight: float tensor `(filters, channels, 3, 3)`.
        bias: float tensor `(filters,)`, or `None`.
        padding: 0 or 1, zeros on each side.

    Returns:
        Float tensor `(batch, filters, height - 2 + 2 * padding, width - 2 + 2 * padding)`.

    Example:
        >>> images, weight = torch.ones(1, 64, 5, 5), torch.ones(64, 64, 3, 3)
        >>> winograd_conv2d(images, weight)[0, 0, 0].round().tolist()
        [576.0, 576.0, 576.0]
    """
    channels, height, width = images.shape[1:]
    sides = [size - 2 + 2 * padding for size in (height, width)]
    if not _pays(images, sides, min(channels, len(weight))):
        return torch.conv2d(images, weight, bias, padding=padding)
    result = _filtered(images, weight, [_transforms(side, padding, images.dtype) for side in sides])
    return (result if bias is None else result + bias).permute(0, 3, 1, 2)


def _pays(images, sides, channels):
    # What is compiled ignores what is kept, and an export would leave transforms without numbers.
    if torch.compiler.is_compiling() or type(images) not in PLAIN or not len(images):
        return False
    exact = images.dtype in (torch.float32, torch.float64) and images.device.type == "cpu"
    if torch.is_autocast_enabled("cpu") or products_are_rounded(images.dtype):
        exact = False  # the transforms would lose a hundred times what is rounded off
    return exact and min(sides) >= SMALLEST and max(sides) <= LARGEST and channels >= FEWEST


class Winograd(Way):
    """All three stages in tiles of up to 6 pixels a side, for float32.

    The gradient to the images is the convolution of the result's gradient with the kernel turned
    round; that to the weights multiplies in the same transformed space.
    """

    precisions = ("float32",)  # the transforms lose a hundred times what half precision rounds off

    def fits(self, sizes):
        plain = sizes.kernel == (3, 3) and sizes.stride == sizes.dilation == (1, 1)
        if not plain or not super().fits(sizes) or sizes.padding not in ((0, 0), (1, 1)):
            return False
        return min(sizes.result) >= SMALLEST and max(*sizes.image, *sizes.result) <= 2 * EXACT_TILE

    def forward(self, images, weight, sizes):
        result = empty(sizes, "forward", images)
        _filtered(images, weight, _axes(sizes.result, sizes.padding, images.dtype), result)
        return result

    def to_input(self, change, weight, sizes):
        padding = tuple(2 - one for one in sizes.padding)
        result = empty(sizes, "to_input", change)
        _filtered(change, turned(weight), _axes(sizes.image, padding, change.dtype), result)
        return result

    def to_weight(self, images, change, sizes):
        down, across = _axes(sizes.result, sizes.padding, images.dtype)
        spread = _spread(images, down.images, across.images)
        spread_change = _spread(change, down.result.t(), across.result.t())
        # One product for each place of the transformed tiles, summed over the batch.
        products = torch.bmm(spread_change.permute(1, 2, 0), spread.transpose(0, 1))
        tiles = down.tiles, len(down.filters), across.tiles, len(across.filters)
        products = products.view(*tiles, sizes.filters * sizes.channels).sum((0, 2)).flatten(0, 1)
        found = torch.kron(down.filters, across.filters).t() @ products
        found = found.view(3, 3, sizes.filters, sizes.channels).permute(2, 0, 1, 3)
        return planes(found.contiguous())


def _axes(sides, padding, dtype):
    return [
        _transforms(side, one, dtype, EXACT_TILE) for side, one in zip(sides, padding, strict=True)
    ]


def _filtered(images, weight, axes, result=None):
    """The result `(batch, height, width, filters)`, written to the images `result` if given."""
    down, across = axes
    batch, channels = images.shape[:2]
    spread = _spread(images, down.images, across.images)
    filters = torch.kron(down.filters, across.filters) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    filters = filters.view(len(down.filters), -1, channels, len(weight))
    filters = filters.repeat(down.tiles, across.tiles, 1, 1).flatten(0, 1)
    products = torch.bmm(spread.transpose(0, 1), filters).transpose(0, 1)
    lines = _apply(across.result, products.reshape(batch * len(down.images), -1, len(weight)))
    out = None if result is None else rows(result).view(batch, len(down.result), -1)
    found = _apply(down.result, lines.view(batch, len(down.images), -1), out)
    return found.view(batch, len(down.result), len(across.result), -1)


def _spread(images, down, across):
    """Images `(batch, channels, …)` transformed along both axes: `(batch, places, channels)`."""
    batch, channels, height, width = images.shape
    spread = _apply(down, images.permute(0, 2, 3, 1).reshape(batch, height, -1))
    return _apply(across, spread.view(-1, width, channels)).view(batch, -1, channels)


def _apply(matrix, values, out=None):
    """The matrix times the second axis of `(batch, size, rest)`."""
    return torch.bmm(matrix.expand(len(values), -1, -1), values, out=out)


class _Transforms(NamedTuple):
    """Of one axis: of the images, of a tile's filters, of the result; and how many tiles."""

    images: torch.Tensor
    filters: torch.Tensor
    result: torch.Tensor
    tiles: int


@functools.lru_cache
@torch.inference_mode(False)  # kept for training, whoever asks first
def _transforms(side, padding, dtype, largest=TILE):
    """The transforms of an axis whose result has this size; images without their padding."""
    tiles = -(-side // largest)
    step = -(-side // tiles)  # pixels of the result that a tile gives
    length = step + 2
    result, filters = _powers(step, step).T, _powers(3, step)
    # In float64, and rounded at the end: the inverse is badly conditioned for large tiles.
    inverse = torch.linalg.inv(_powers(length, step)).T
    images = torch.zeros(tiles * length, tiles * step + 2, dtype=torch.float64, device="cpu")
    for tile in range(tiles):
        images[tile * length :, tile * step :][:length, :length] = inverse
    images = images[:, padding : side + 2 - padding]
    result = torch.block_diag(*[result] * tiles)[:side]
    matrices = (matrix.to(dtype).contiguous() for matrix in (images, filters, result))
    return _Transforms(*matrices, tiles)


def _powers(count, step):
    """`(step + 2, count)`: a polynomial's values, from its coefficients (Toom and Cook)."""
    rows = [[point**power for power in range(count)] for point in _POINTS[: step + 1]]
    # The point at infinity: the highest coefficient alone.
    rows.append([0.0] * (count - 1) + [1.0])
    return torch.tensor(rows, dtype=torch.float64, device="cpu")
