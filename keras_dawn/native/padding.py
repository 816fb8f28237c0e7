"""The zeros that Keras puts around images, series and volumes, as a running module adds them."""

import torch


def same_padding(size, kernel, stride, dilation=1):
    """Zeros before and after one axis under Keras's "same", as `(before, after)`."""
    reach = (kernel - 1) * dilation + 1
    # TensorFlow's rule: the result has ⌈size / stride⌉ pixels, and the odd zero comes last.
    total = max(0, (-(-size // stride) - 1) * stride + reach - size)
    return total // 2, total - total // 2


def pad_same(images, kernel, stride, dilation=None, mode="constant"):
    """Pads images `(batch, channels, *axes)` as Keras's "same" does."""
    dilation = dilation or (1,) * len(kernel)
    return pad_axes(
        images,
        [
            same_padding(size, *setting)
            for size, *setting in zip(images.shape[2:], kernel, stride, dilation, strict=True)
        ],
        mode,
    )


def pad_axes(images, ends, mode="constant"):
    """Pads images `(batch, channels, *axes)` by `(before, after)` for each axis."""
    flat = [length for pair in reversed(ends) for length in pair]
    if not any(flat):
        return images
    if images.ndim == 3 and mode == "constant":
        # As images of one row: of series torch would lay out the channels outermost.
        return torch.nn.functional.pad(images.unsqueeze(2), flat).squeeze(2)
    return torch.nn.functional.pad(images, flat, mode=mode)
