"""The sizes of one convolution over images."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sizes:
    """A convolution of images, as far as its time depends on it.

    Args:
        batch, channels, filters: int.
        image: `(height, width)` in pixels, without padding.
        kernel, stride, padding, dilation: `(rows, columns)`; the padding is zeros on each side.
        groups: int.
    """

    batch: int
    channels: int
    filters: int
    image: tuple
    kernel: tuple
    stride: tuple = (1, 1)
    padding: tuple = (0, 0)
    dilation: tuple = (1, 1)
    groups: int = 1

    @property
    def result(self):
        """`(height, width)` of the result."""
        return tuple(
            (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for size, kernel, stride, padding, dilation in self.axes()
        )

    def axes(self):
        """`(size, kernel, stride, padding, dilation)` of each axis."""
        return zip(self.image, self.kernel, self.stride, self.padding, self.dilation, strict=True)

    def shape(self, stage):
        """The shape of what a stage gives: `"forward"`, `"to_input"` or `"to_weight"`."""
        if stage == "forward":
            return (self.batch, self.filters, *self.result)
        if stage == "to_input":
            return (self.batch, self.channels, *self.image)
        return (self.filters, self.channels // self.groups, *self.kernel)

    @property
    def is_pointwise(self):
        """Whether each pixel of the result comes from one pixel of the image."""
        return self.kernel == (1, 1) and self.padding == (0, 0)

    @property
    def is_depthwise(self):
        """Whether each filter sees one of several channels."""
        return self.groups == self.channels > 1

    def without_padding(self, image, kernel):
        """The sizes with these ones of image and kernel and no zeros around."""
        return replace(self, image=image, kernel=kernel, padding=(0, 0))

    @property
    def keeps_size(self):
        """Whether the result has the image's size, with as many zeros on each side of it."""
        odd = all(k % 2 and 2 * p == d * (k - 1) for _, k, _, p, d in self.axes())
        return odd and self.stride == (1, 1)
