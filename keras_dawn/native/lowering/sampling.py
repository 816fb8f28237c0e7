"""Images seen through a map of their pixels by torch's own sampling, where that is the same map."""

import functools

import torch
import torch.nn.functional as F

# What torch calls them, and whether its -1 and 1 are the middles of the outermost pixels.
_PADDING = {
    "constant": ("zeros", False),
    "nearest": ("border", False),
    "mirror": ("reflection", True),
    "reflect": ("reflection", False),
}


def can_be_sampled(images, mode, fill_mode, fill_value):
    """Whether `sampled` computes what `warps.warp` is asked for.

    Between pixels, and beyond a border, torch's numbers are Keras's to rounding. To the nearest
    pixel rounding decides which one that is; and torch has no deterministic gradient on a GPU.
    """
    if mode != "bilinear" or fill_mode not in _PADDING or images.requires_grad:
        return False
    return (fill_mode != "constant" or fill_value == 0) and min(images.shape[1:3]) > 1


def sampled(images, moves, fill_mode):
    """The images `(batch, height, width, channels)` that moves look up; see `warps.warp`."""
    batch, height, width, channels = images.shape
    padding, middles = _PADDING[fill_mode]
    # torch's unit is half an image in either direction.
    x, y = (width - 1, height - 1) if middles else (width, height)
    a0, a1, a2, b0, b1, b2 = moves.from_middle(height, width)
    if x != y:
        a1, b0 = a1 * (y / x), b0 * (x / y)
    numbers = torch.stack([a0, a1, a2 * (2 / x), b0, b1, b2 * (2 / y)], 1)
    grid = _grid(numbers.view(-1, 2, 3), (batch, channels, height, width), middles)
    found = F.grid_sample(
        images.to(grid.dtype).permute(0, 3, 1, 2), grid, padding_mode=padding, align_corners=middles
    )
    return found.permute(0, 2, 3, 1).contiguous().to(images.dtype)


def _grid(matrices, size, middles):
    """Where each pixel of the result comes from, `(batch, height, width, 2)`."""
    if matrices.device.type != "cpu" or torch.compiler.is_compiling():
        return F.affine_grid(matrices, size, align_corners=middles)
    # One product for all images takes a sixth of the time of one for each of them.
    places = _places(size[2:], middles, matrices.dtype)
    return torch.mm(matrices.reshape(-1, 3), places).view(size[0], 2, *size[2:]).movedim(1, -1)


@functools.lru_cache(16)
def _places(size, middles, dtype):
    """The place of each pixel, `(3, height width)`: column, row, 1."""
    row, column = (
        torch.linspace(-1, 1, n, dtype=dtype, device="cpu") * (1 if middles else (n - 1) / n)
        for n in size
    )
    row, column = torch.meshgrid(row, column, indexing="ij")
    return torch.stack([column, row, torch.ones_like(row)]).view(3, -1)
