"""Images seen through a map of their pixels, all of a batch at once, as Keras computes it.

Keras goes through the images one by one, and looks at every channel by itself.
"""

from keras_dawn.native.lowering.sampling import can_be_sampled, sampled

import torch


def warp(images, moves, dtype, mode, fill_mode, fill_value):
    """The images that maps of pixels look up in others.

    Args:
        images: `(batch, height, width, channels)`, floats.
        moves: one of the classes in `moves`.
        dtype: torch dtype that places are computed in.
        mode: `"bilinear"` or `"nearest"`.
        fill_mode: what is beyond the borders: `"constant"`, `"nearest"`, `"wrap"`, `"mirror"`
            or `"reflect"`.
        fill_value: float, for `"constant"`.

    Returns:
        tensor like `images`.
    """
    sizes = images.shape[1:3]
    if dtype == torch.float32 and can_be_sampled(images, mode, fill_mode, fill_value):
        return sampled(images, moves, fill_mode)
    matrices = moves.matrices(*sizes).to(dtype)
    grid = torch.cartesian_prod(
        *(torch.arange(size, dtype=matrices.dtype, device=images.device) for size in sizes)
    )
    a0, a1, a2, b0, b1, b2 = matrices.unbind(1)
    # Rows come first here and columns in the matrices: hence b before a, 1 before 0.
    turn = torch.stack([b1, a1, b0, a0], 1).unflatten(1, (2, 2))
    places = torch.matmul(grid, turn) + torch.stack([b2, a2], 1)[:, None]
    places = [place.unflatten(1, sizes) for place in places.unbind(2)]
    return _looked_up(images, places, mode, fill_mode, fill_value)


def tilt(images, starts, ends, mode, fill_value):
    """The images as a perspective shows them that moves four points of theirs.

    Args:
        images: `(batch, height, width, channels)`, floats.
        starts, ends: `(batch, 4, 2)`, `x` and `y` of the points before and after.
        mode, fill_value: see `warp`.
    """
    height, width = images.shape[1:3]
    zero, one = torch.zeros_like(ends[..., 0]), torch.ones_like(ends[..., 0])
    (x, y), (new_x, new_y) = starts.unbind(2), ends.unbind(2)
    rows = [
        torch.stack([new_x, new_y, one, zero, zero, zero, -x * new_x, -x * new_y], 2),
        torch.stack([zero, zero, zero, new_x, new_y, one, -y * new_x, -y * new_y], 2),
    ]
    # Two equations a point: eight for the eight numbers of a perspective.
    matrices = torch.stack(rows, 2).flatten(1, 2)
    solved = torch.linalg.solve(matrices, starts.flatten(1).unsqueeze(2)).squeeze(2)
    a0, a1, a2, b0, b1, b2, c0, c1 = (each[:, None, None] for each in solved.unbind(1))
    row = torch.arange(height, dtype=images.dtype, device=images.device)[:, None]
    column = torch.arange(width, dtype=images.dtype, device=images.device)
    depth = c0 * column + c1 * row + 1.0
    places = (b0 * column + b1 * row + b2) / depth, (a0 * column + a1 * row + a2) / depth
    return _looked_up(images, places, mode, "constant", fill_value)


def _looked_up(images, places, mode, fill_mode, fill_value):
    """Pixels at places `(rows, columns)`, each `(batch, height, width)`."""
    axes = [
        _corners(place, size, mode, fill_mode)
        for place, size in zip(places, images.shape[1:3], strict=True)
    ]
    batch, height, width, channels = images.shape
    # One number a pixel: to look up by three takes several times as long.
    pixel_of, flat = (batch, *places[0].shape[1:], channels), images.reshape(-1, channels)
    first_rows = torch.arange(0, batch * height, height, device=images.device)[:, None, None]
    result = 0
    for row, row_inside, row_weight in axes[0]:
        start = (first_rows + row) * width
        for column, column_inside, column_weight in axes[1]:
            pixels = flat.index_select(0, (start + column).flatten()).view(pixel_of)
            if row_inside is not None:
                inside = (row_inside & column_inside)[..., None]
                pixels = torch.where(inside, pixels, fill_value)
            if row_weight is not None:
                pixels = (row_weight * column_weight)[..., None] * pixels
            result = result + pixels
    return result.to(images.dtype)


def _corners(place, size, mode, fill_mode):
    """Whole numbers beside places along an axis: `[(index, whether it is inside, weight)]`."""
    if mode == "nearest":
        found = [(torch.round(place).to(torch.int32), None)]
    else:
        below = torch.floor(place)
        above = place - below
        index = below.to(torch.int32)
        found = [(index, 1 - above), (index + 1, above)]
    inside = [
        (index >= 0) & (index < size) if fill_mode == "constant" else None for index, _ in found
    ]
    return [
        (BEYOND[fill_mode](index, size), within, weight)
        for (index, weight), within in zip(found, inside, strict=True)
    ]


def _clipped(index, size):
    return index.clamp(0, size - 1)


def _wrapped(index, size):
    return index % size


def _mirrored(index, size):
    last = size - 1
    return torch.abs((index + last) % (2 * last) - last)


def _reflected(index, size):
    index = index % (2 * size)
    return torch.minimum(index, 2 * size - 1 - index)


BEYOND = {
    "constant": _clipped,
    "nearest": _clipped,
    "wrap": _wrapped,
    "mirror": _mirrored,
    "reflect": _reflected,
}
