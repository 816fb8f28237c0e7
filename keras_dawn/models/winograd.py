"""3 × 3 convolutions of small images by Winograd's minimal filtering."""

import functools

import keras
import torch

_POINTS = (0, 1, -1, 2, -2, 0.5, -0.5, 0.75, -0.75)  # where polynomials are evaluated, and at ∞
SMALLEST, LARGEST = 3, 8  # pixels a side of the result that are worth it


@keras.saving.register_keras_serializable(package="keras_dawn")
class WinogradConv2D(keras.layers.Conv2D):
    """A 3 × 3 convolution that takes fewer multiplications where images are small.

    Winograd's minimal filtering (Lavin & Gray 2016, arXiv:1509.09308) with the whole image as one
    tile: 64 multiplications for 6 × 6 pixels of the result in place of 324, forward and for both
    gradients. The result is that of `keras.layers.Conv2D` but for rounding: about 4e-6 of the
    result's size up to 6 × 6 pixels and 5e-5 above, in float32. It is for processors: in half
    precision, on other devices, and where the result has less than 3 or more than 8 pixels a
    side, the convolution is computed directly.

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
        planes = winograd_conv2d(
            inputs.permute(0, 3, 1, 2), kernel.permute(3, 2, 0, 1), padding=self.padding == "same"
        )
        return planes.permute(0, 2, 3, 1)


def winograd_conv2d(images, weight, bias=None, padding=0):
    """`torch.conv2d` with a 3 × 3 kernel, by one Winograd tile an image where that pays.

    Args:
        images: float tensor `(batch, channels, height, width)`, in channels_last memory format.
        weight: float tensor `(filters, channels, 3, 3)`.
        bias: float tensor `(filters,)`, or `None`.
        padding: 0 or 1, zeros on each side.

    Returns:
        Float tensor `(batch, filters, height - 2 + 2 * padding, width - 2 + 2 * padding)`.

    Example:
        >>> images, weight = torch.ones(1, 2, 5, 5), torch.ones(4, 2, 3, 3)
        >>> winograd_conv2d(images, weight)[0, 0, 0].round(decimals=3).tolist()
        [18.0, 18.0, 18.0]
    """
    padding = int(padding)
    sides = [size - 2 + 2 * padding for size in images.shape[2:]]
    exact = images.dtype in (torch.float32, torch.float64) and images.device.type == "cpu"
    if not exact or min(sides) < SMALLEST or max(sides) > LARGEST:
        return torch.conv2d(images, weight, bias, padding=padding)
    back, filters, into = _transforms(*sides, padding, images.dtype)
    batch, tile = len(images), len(into)
    flat = images.permute(0, 2, 3, 1).reshape(batch, -1, images.shape[1])
    kernels = (filters @ weight.permute(2, 3, 1, 0).reshape(9, -1)).view(tile, -1, len(weight))
    spread = torch.bmm(into.expand(batch, -1, -1), flat)
    products = torch.bmm(spread.transpose(0, 1), kernels)
    result = torch.bmm(back.expand(batch, -1, -1), products.transpose(0, 1))
    if bias is not None:
        result = result + bias
    return result.view(batch, *sides, -1).permute(0, 3, 1, 2)


@functools.lru_cache
@torch.inference_mode(False)  # kept for training, whoever asks first
def _transforms(height, width, padding, dtype):
    """Of the result, the filters and the images, for a result of this size.

    Both axes at once, as matrices `(height * width, tile)`, `(tile, 9)`, `(tile, images' pixels)`.
    Padding with zeros is left out of the last.
    """
    axes = [_one_axis(size) for size in (height, width)]
    back, filters, into = (torch.kron(*pair) for pair in zip(*axes, strict=True))
    if padding:
        sides = height + 2, width + 2
        into = into.view(-1, *sides)[:, 1:-1, 1:-1].reshape(len(into), -1)
    return tuple(matrix.to(dtype).contiguous() for matrix in (back, filters, into))


def _one_axis(size):
    """The transforms of one axis whose result has this size, by Toom and Cook."""

    def powers(count):
        rows = [[point**power for power in range(count)] for point in _POINTS[: size + 1]]
        rows.append([0.0] * (count - 1) + [1.0])
        return torch.tensor(rows, dtype=torch.float64, device="cpu")

    return powers(size).T, powers(3), torch.linalg.inv(powers(size + 2)).T
