"""3 × 3 convolutions of small images by Winograd's minimal filtering."""

import functools
from typing import NamedTuple

import keras
import torch

_POINTS = (0, 1, -1, 2, -2, 0.5, -0.5, 0.75, -0.75)  # where polynomials are evaluated, and at ∞
TILE = 8  # pixels a side of the result, at most, that one tile gives
SMALLEST, LARGEST = 3, 2 * TILE  # pixels a side of the result that are worth it
FEWEST = 64  # channels, of the images and of the result


@keras.saving.register_keras_serializable(package="keras_dawn")
class WinogradConv2D(keras.layers.Conv2D):
    """A 3 × 3 convolution that takes fewer multiplications where images are small.

    Winograd's minimal filtering (Lavin & Gray 2016, arXiv:1509.09308), forward and for both
    gradients: with the image as one tile, 64 multiplications for 6 × 6 pixels of the result in
    place of 324; above 8 pixels a side two tiles an axis. The result is that of
    `keras.layers.Conv2D` but for rounding, in float32 about 4e-6 of the result's size with tiles
    of up to 6 pixels and 6e-5 above. It is for processors: in half precision, on other devices,
    where the result has under 3 or over 16 pixels a side, and with fewer than 64 channels
    on either side, the convolution is computed directly. It pays in batches of a hundred images and
    more (times against oneDNN's: benchmarks/results/record_log.md).

    Args:
        filters, kernel_size, **kwargs: as in `keras.layers.Conv2D`; of 3 × 3 pixels, with strides,
            dilation and groups of 1, `padding` "valid" or "same", images channels last.

    Raises:
        ValueError: another kernel, strides, dilation, groups, padding or data format.

    Example:
        >>> tuple(WinogradConv2D(4, 3)(torch.ones(2, 8, 8, 3)).shape)
        (2, 6, 6, 4)
    """

    def __init__(self, filters, kernel_size, **kwargs):
        super().__init__(filters, kernel_size, **kwargs)
        said = (self.kernel_size, self.strides, self.dilation_rate, self.groups)
        if said != ((3, 3), (1, 1), (1, 1), 1) or self.padding not in ("valid", "same"):
            raise ValueError(
                "WinogradConv2D takes a kernel of 3 × 3, strides, dilation and groups of 1, and "
                f'"valid" or "same" padding; got {(*said, self.padding)}.'
            )
        if self.data_format != "channels_last":
            raise ValueError(f"WinogradConv2D takes channels_last, got {self.data_format}.")

    def convolution_op(self, inputs, kernel):
        inputs, kernel = map(keras.ops.convert_to_tensor, (inputs, kernel))
        padding = int(self.padding == "same")
        planes = winograd_conv2d(
            inputs.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=padding
        )
        return planes.permute(0, 2, 3, 1)


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
    batch, channels, height, width = images.shape
    sides = [size - 2 + 2 * padding for size in (height, width)]
    if not _pays(images, sides, min(channels, len(weight))):
        return torch.conv2d(images, weight, bias, padding=padding)
    rows, columns = (_transforms(side, padding, images.dtype) for side in sides)
    spread = _apply(rows.images, images.permute(0, 2, 3, 1).reshape(batch, height, -1))
    spread = _apply(columns.images, spread.view(-1, width, channels)).view(batch, -1, channels)
    filters = torch.kron(rows.filters, columns.filters) @ weight.permute(2, 3, 1, 0).reshape(9, -1)
    filters = filters.view(len(rows.filters), -1, channels, len(weight))
    filters = filters.repeat(rows.tiles, columns.tiles, 1, 1).flatten(0, 1)
    products = torch.bmm(spread.transpose(0, 1), filters).transpose(0, 1)
    result = _apply(columns.result, products.reshape(batch * len(rows.images), -1, len(weight)))
    result = _apply(rows.result, result.view(batch, len(rows.images), -1))
    result = result.view(batch, *sides, -1)
    return (result if bias is None else result + bias).permute(0, 3, 1, 2)


def _pays(images, sides, channels):
    exact = images.dtype in (torch.float32, torch.float64) and images.device.type == "cpu"
    return exact and min(sides) >= SMALLEST and max(sides) <= LARGEST and channels >= FEWEST


def _apply(matrix, values):
    """The matrix times the second axis of `(batch, size, rest)`."""
    return torch.bmm(matrix.expand(len(values), -1, -1), values)


class _Transforms(NamedTuple):
    """Of one axis: of the images, of a tile's filters, of the result; and how many tiles."""

    images: torch.Tensor
    filters: torch.Tensor
    result: torch.Tensor
    tiles: int


@functools.lru_cache
@torch.inference_mode(False)  # kept for training, whoever asks first
def _transforms(side, padding, dtype):
    """The transforms of an axis whose result has this size; images without their padding."""
    tiles = -(-side // TILE)
    step = -(-side // tiles)  # pixels of the result that a tile gives
    length = step + 2
    result, filters = _powers(step, step).T, _powers(3, step)
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
    rows.append([0.0] * (count - 1) + [1.0])
    return torch.tensor(rows, dtype=torch.float64, device="cpu")
