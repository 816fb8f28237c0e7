"""Transposed convolutions, whose bias a CPU adds afterwards."""

import torch


def conv_transpose1d(series, kernel, bias, stride, padding, output_padding, groups, dilation):
    """What `torch.conv_transpose1d` computes, of series `(batch, channels, time)`.

    See `conv_transpose2d`.
    """
    images = conv_transpose2d(
        series.unsqueeze(2),
        kernel.unsqueeze(2),
        bias,
        (1, *stride),
        (0, *padding),
        (0, *output_padding),
        groups,
        (1, *dilation),
    )
    return images.squeeze(2)


def conv_transpose2d(images, kernel, bias, stride, padding, output_padding, groups, dilation):
    """What `torch.conv_transpose2d` computes; on a CPU the bias is added to the result.

    Where the stride is above 1 and the result an odd number of pixels wide, as Keras's "same" wants
    it before it is cut, oneDNN's kernel with a bias takes 4 to 13 times as long in bfloat16, 1.2 to
    2.7 times in float32; with the gradients 2.2 to 6.7 and 1.1 to 1.7. Elsewhere it takes 0.9 to
    1.0, with the gradients 1.0 to 1.2 (7 sizes of 32 to 128 channels, medians of 9, one thread of
    an AMD EPYC). In half precision the result is rounded before the bias is added, as in plain
    Keras.

    Args:
        images: float tensor `(batch, channels, height, width)`.
        kernel: tensor `(channels, filters / groups, height, width)` of the same dtype.
        bias: tensor `(filters,)`, or `None`.
        stride, padding, output_padding, dilation: pairs of ints.
        groups: int.

    Returns:
        Tensor `(batch, filters, height, width)`.

    Example:
        >>> images, kernel, bias = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 1, 1), torch.ones(1)
        >>> settings = (1, 1), (0, 0), (0, 0), 1, (1, 1)
        >>> conv_transpose2d(images, kernel, bias, *settings).flatten().tolist()
        [2.0, 2.0, 2.0, 2.0]
    """
    settings = stride, padding, output_padding, groups, dilation
    return _bias_apart(torch.conv_transpose2d, images, kernel, bias, settings)


def conv_transpose3d(volumes, kernel, bias, stride, padding, output_padding, groups, dilation):
    """What `torch.conv_transpose3d` computes, of volumes `(batch, channels, *three axes)`.

    See `conv_transpose2d`.
    """
    settings = stride, padding, output_padding, groups, dilation
    return _bias_apart(torch.conv_transpose3d, volumes, kernel, bias, settings)


def _bias_apart(convolve, inputs, kernel, bias, settings):
    if bias is None or inputs.device.type != "cpu":
        return convolve(inputs, kernel, bias, *settings)
    outputs = convolve(inputs, kernel, None, *settings)
    return outputs.add_(bias.view(-1, *[1] * (outputs.ndim - 2)))
