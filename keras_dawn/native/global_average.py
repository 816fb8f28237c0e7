"""The average of each channel of images, whose gradient lies in memory as the images do."""

import torch

LEAST = 2**13  # numbers; with fewer of them the two views cost more than they save


def average_of_images(images, axes, keepdims=False):
    """What `torch.mean` computes over all axes behind the second: the same bits.

    torch writes the gradient with the channels outermost, wherever the images have them. On a CPU
    what meets it there, a ReLU's gradient or that of another path, then takes a step from one
    order to the other for each number: with a ReLU that takes 3.3 to 7.5 times as long (5 sizes of
    131,000 numbers and more, bfloat16 and float32, medians of 15, one thread of an AMD EPYC).

    Args:
        images: float tensor `(batch, channels, *axes)`.
        axes: tuple, those behind the second.
        keepdims: bool, whether the axes stay, with one place each.

    Returns:
        Tensor `(batch, channels)`, or `(batch, channels, 1, ...)`.

    Example:
        >>> average_of_images(torch.arange(8.0).view(1, 2, 2, 2), (2, 3)).tolist()
        [[1.5, 5.5]]
    """
    follows = images.requires_grad and images.device.type == "cpu" and images.numel() >= LEAST
    if not follows or images.is_contiguous():
        return torch.mean(images, axes, keepdims)
    average = torch.mean(images.movedim(1, -1), tuple(axis - 1 for axis in axes), keepdims)
    return average.movedim(-1, 1) if keepdims else average
