"""Colours of images `(batch, height, width, channels)`, as Keras computes them."""

import torch


def grey(images):
    """One channel of brightness, of images in red, green and blue or in grey."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = images.unbind(-1)
    # How bright each colour looks (ITU-R BT.601), in the digits that Keras has.
    return (0.2989 * red + 0.587 * green + 0.114 * blue).to(images.dtype).unsqueeze(-1)


def to_hsv(images):
    """Red, green and blue as `(hue, saturation, value)`, each `(batch, height, width)`."""
    images = torch.where(images.abs() < torch.finfo(images.dtype).eps, 0.0, images)
    red, green, blue = images.unbind(-1)
    value = torch.maximum(torch.maximum(red, green), blue)
    spread = value - torch.minimum(torch.minimum(red, green), blue)
    saturation = torch.where(value > 0, spread / torch.where(value > 0, value, 1.0), 0.0)
    sixth = 1.0 / (6.0 * torch.where(spread > 0, spread, 1.0))
    hue = torch.where(
        value == green,
        sixth * (blue - red) + 2.0 / 6.0,
        sixth * (red - green) + 4.0 / 6.0,
    )
    hue = torch.where(value == red, sixth * (green - blue), hue)
    return torch.where(spread > 0, hue, 0.0) + (hue < 0.0).to(hue.dtype), saturation, value


def to_rgb(hue, saturation, value):
    """Images of hue, saturation and value, each `(batch, height, width)`."""
    turn = torch.remainder(hue, 1.0) * 6.0
    fractions = (
        (turn - 3.0).abs() - 1.0,
        2.0 - (turn - 2.0).abs(),
        2.0 - (turn - 4.0).abs(),
    )
    rest = 1.0 - saturation
    return torch.stack(
        [value * (rest + saturation * fraction.clamp(0.0, 1.0)) for fraction in fractions], -1
    )


def to_range(images, old, new):
    """Numbers of one range `(lowest, highest)` in another."""
    if tuple(old) == tuple(new):
        return images
    fractions = (images - old[0]) / (old[1] - old[0])
    return fractions * (new[1] - new[0]) + new[0]


def blur(images, size, sigmas):
    """Images blurred by a Gaussian of `size` pixels; `sigmas` of the columns and the rows."""
    places = torch.arange(size, dtype=images.dtype, device=images.device) - (size - 1) / 2
    across, down = (torch.exp(-0.5 * (places / sigma) ** 2) for sigma in sigmas.unbind(0))
    return _filtered(images, torch.outer(down / down.sum(), across / across.sum()))


def smooth(images):
    """Images with each pixel averaged with its neighbours, its own weight five times theirs."""
    # Pillow's filter SMOOTH, which sharpening takes as its blurred image.
    weights = torch.full((3, 3), 1.0 / 13.0, dtype=images.dtype, device=images.device)
    weights[1, 1] = 5.0 / 13.0
    return _filtered(images, weights)


def _filtered(images, weights):
    """All channels filtered alike, with zeros around them."""
    channels, half = images.shape[-1], len(weights) // 2
    # One group a channel: none sees another.
    kernel = weights.expand(channels, 1, *weights.shape)
    filtered = torch.conv2d(images.permute(0, 3, 1, 2), kernel, None, 1, half, 1, channels)
    return filtered.permute(0, 2, 3, 1)
