"""Colours: transforms of single pixels, batched."""

from keras_dawn.data.transforms import Transform, to_unit_range


class Grayscale(Transform):
    """Images of one channel, as Pillow and torchvision make them of three.

    Where the list has no `Normalize`, photos need one with a single mean and deviation.

    Example:
        >>> Grayscale()(torch.ones(2, 4, 4, 3)).shape
        torch.Size([2, 4, 4, 1])
    """

    before_normalize = True
    one_channel = True

    def __call__(self, images, random=None):
        """float32 `(batch, height, width, 1)` in [0, 1]."""
        return grey(to_unit_range(images))


def grey(images):
    """The brightness of float images, `(batch, height, width, 1)` (ITU-R 601, as torchvision)."""
    if images.shape[-1] != 3:
        return images
    return (images * images.new_tensor([0.2989, 0.587, 0.114])).sum(-1, keepdim=True)
