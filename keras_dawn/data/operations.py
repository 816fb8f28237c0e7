"""The fourteen operations of RandAugment and TrivialAugment, each image with one of its own.

All are computed for the whole batch and each image takes its own: no operation asks the device
which images it concerns. Pixels are whole numbers from 0 to 255, as in Pillow and torchvision.
"""

from keras_dawn.data.colors import grey

import torch
import torch.nn.functional as F

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "color",
    "contrast", "sharpness", "posterize", "solarize", "auto_contrast", "equalize",
)  # fmt: skip
_NUMBER = {name: number for number, name in enumerate(OPERATIONS)}
_GEOMETRY = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
_BLENDS = ("brightness", "color", "contrast", "sharpness")


def apply_operations(images, operation, magnitude):
    """Each image after its operation.

    Args:
        images: uint8 `(batch, height, width, channels)`.
        operation: int64 `(batch,)`, places in `OPERATIONS`.
        magnitude: float32 `(batch,)`: the tangent of a shear, pixels of a translation (cut to whole
            ones), degrees of a rotation (counter-clockwise), what is added to the factor 1 of a
            blend, bits that posterizing keeps, the fraction of 255 from which solarizing inverts.

    Returns:
        uint8, like `images`.
    """
    pixels = images.float()
    result = _where(operation, _GEOMETRY, warp(pixels, matrices(operation, magnitude)), pixels)
    result = _where(operation, _BLENDS, _blended(pixels, operation, 1 + magnitude), result)
    bits = magnitude.clamp(0, 8).long()
    # A mask of the upper bits; its own number of them for each image.
    kept = images & ((0xFF << (8 - bits)) & 0xFF).to(torch.uint8)[:, None, None, None]
    result = _where(operation, ("posterize",), kept, result)
    inverted = torch.where(pixels >= 255 * magnitude[:, None, None, None], 255 - pixels, pixels)
    result = _where(operation, ("solarize",), inverted, result)
    result = _where(operation, ("auto_contrast",), _stretched(pixels), result)
    return _where(operation, ("equalize",), _equalized(images), result).to(torch.uint8)


def matrices(operation, magnitude):
    """From pixels of the result to pixels of the image, about its middle: `(batch, 2, 3)`.

    Shears keep the upper left corner, as torchvision's do; `warp` moves them there.
    """

    def of(name):
        return torch.where(operation == _NUMBER[name], magnitude, 0)

    angle = of("rotate") * (torch.pi / 180)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.stack([cosine, of("shear_x") - sine, -of("translate_x").trunc()], 1)
    down = torch.stack([of("shear_y") + sine, cosine, -of("translate_y").trunc()], 1)
    sheared = torch.stack([of("shear_x"), of("shear_y")], 1)
    return torch.stack([across, down], 1), sheared


def warp(images, transformation):
    """Float images `(batch, height, width, channels)` by nearest pixels, black outside."""
    matrix, sheared = transformation
    batch, height, width, _ = images.shape
    corner = torch.stack([sheared[:, 0] * (height / 2), sheared[:, 1] * (width / 2)], 1)
    matrix = torch.cat([matrix[:, :, :2], matrix[:, :, 2:] + corner[:, :, None]], 2)
    # Middles of pixels, counted from the middle of the image, as torchvision does it.
    x = torch.linspace((1 - width) / 2, (width - 1) / 2, width, device=images.device)
    y = torch.linspace((1 - height) / 2, (height - 1) / 2, height, device=images.device)
    ones = torch.ones(height, width, device=images.device)
    base = torch.stack([x.expand(height, width), y[:, None].expand(height, width), ones], -1)
    scaled = torch.stack([matrix[:, 0] / (width / 2), matrix[:, 1] / (height / 2)], 2)
    grid = base.view(1, -1, 3) @ scaled
    warped = F.grid_sample(
        images.permute(0, 3, 1, 2), grid.view(batch, height, width, 2), "nearest",
        align_corners=False,
    )  # fmt: skip
    return warped.permute(0, 2, 3, 1)


def _where(operation, names, changed, other):
    chosen = torch.zeros_like(operation, dtype=torch.bool)
    for name in names:
        chosen |= operation == _NUMBER[name]
    return torch.where(chosen[:, None, None, None], changed.to(other.dtype), other)


def _blended(pixels, operation, factor):
    """Away from black, from grey, from the mean grey, or from blurred."""
    base = torch.zeros_like(pixels)
    greys = grey(pixels).floor()
    base = _where(operation, ("color",), greys.expand_as(pixels), base)
    mean = greys.mean((1, 2, 3), keepdim=True)
    base = _where(operation, ("contrast",), mean.expand_as(pixels), base)
    base = _where(operation, ("sharpness",), _smoothed(pixels), base)
    if pixels.shape[-1] == 1:  # no colour to take away
        factor = torch.where(operation == _NUMBER["color"], 1.0, factor)
    factor = factor[:, None, None, None]
    return (pixels * factor + base * (1 - factor)).clamp(0, 255).trunc()


def _smoothed(pixels):
    """Pillow's SMOOTH: the eight neighbours once, the pixel five times; the border as it is."""
    channels = pixels.shape[-1]
    if min(pixels.shape[1:3]) <= 2:
        return pixels
    kernel = torch.full((channels, 1, 3, 3), 1 / 13, device=pixels.device)
    kernel[:, :, 1, 1].fill_(5 / 13)
    inner = F.conv2d(pixels.permute(0, 3, 1, 2), kernel, groups=channels).round()
    result = pixels.clone()
    result[:, 1:-1, 1:-1] = inner.permute(0, 2, 3, 1)
    return result


def _stretched(pixels):
    """Each channel from 0 to 255."""
    low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)
    flat = low == high
    unit = torch.where(flat, 1.0, (high - low) * (1 / 255))
    return ((pixels - torch.where(flat, 0.0, low)) / unit).clamp(0, 255).trunc()


def _equalized(images):
    """Each channel's histogram made even, by Pillow's rule."""
    batch, height, width, channels = images.shape
    values = images.permute(0, 3, 1, 2).reshape(batch, channels, -1).long()
    counts = torch.zeros((batch, channels, 256), dtype=torch.int64, device=images.device)
    counts.scatter_add_(2, values, torch.ones_like(values))
    brightest = counts.gather(2, values.amax(2, keepdim=True))
    step = (height * width - brightest) // 255
    before = counts.cumsum(2) - counts  # pixels that are darker
    table = ((before + step // 2) // step.clamp(min=1)).clamp(max=255)
    even = torch.where(step > 0, table.gather(2, values), values)
    return even.view(batch, channels, height, width).permute(0, 2, 3, 1)
