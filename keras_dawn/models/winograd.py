"""3 × 3 convolutions of small images by Winograd's minimal filtering."""

from keras_dawn.convolutions.winograd import winograd_conv2d

import keras


@keras.saving.register_keras_serializable(package="keras_dawn")
class WinogradConv2D(keras.layers.Conv2D):
    """A 3 × 3 convolution that takes fewer multiplications where images are small.

    Winograd's minimal filtering (Lavin & Gray 2016, arXiv:1509.09308), forward and for both
    gradients: with the image as one tile, 64 multiplications for 6 × 6 pixels of the result in
    place of 324; above 8 pixels a side two tiles an axis. The result is that of
    `keras.layers.Conv2D` but for rounding, in float32 about 4e-6 of the result's size with tiles
    of up to 6 pixels and 6e-5 above. It is for processors: in half precision, on other devices,
    where the result has under 3 or over 16 pixels a side, and with fewer than 64 channels
    on either side, and in what is compiled or exported, the convolution is computed directly. It
    pays in batches of a hundred images and more (times against oneDNN's:
    benchmarks/results/record_log.md).

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
        padding = int(self.padding == "same")
        planes = winograd_conv2d(
            # Views: images lie in memory as torch's channels_last wants them.
            inputs.permute(0, 3, 1, 2),
            kernel.permute(3, 2, 0, 1),
            padding=padding,
        )
        return planes.permute(0, 2, 3, 1)
