"""Layers that Keras lacks."""

import keras


@keras.saving.register_keras_serializable(package="keras_dawn")
class ConcatPooling2D(keras.layers.Layer):
    """Global average and maximum side by side: twice as many features.

    fastai's `AdaptiveConcatPool2d` puts the maximum first, bkj's DAWNBench entry the average;
    the order matters when weights are carried over.

    Args:
        order: `"avg_max"` or `"max_avg"`.
        data_format: as in Keras's pooling layers.

    Input: `(batch, height, width, channels)` (or channels first). Output: `(batch, 2 *
    channels)`.

    Raises:
        ValueError: another order.

    Example:
        >>> tuple(ConcatPooling2D()(torch.ones(2, 4, 4, 3)).shape)
        (2, 6)
    """

    def __init__(self, order="avg_max", data_format=None, **kwargs):
        super().__init__(**kwargs)
        if order not in ("avg_max", "max_avg"):
            raise ValueError(f'`order` must be "avg_max" or "max_avg", got {order!r}.')
        self.order = order
        # Noted now: a saved model keeps its layout where another process has set another one.
        self.data_format = keras.config.image_data_format() if data_format is None else data_format

    def call(self, inputs):
        axes = (1, 2) if self.data_format == "channels_last" else (2, 3)
        parts = [keras.ops.mean(inputs, axes), keras.ops.max(inputs, axes)]
        return keras.ops.concatenate(parts if self.order == "avg_max" else parts[::-1], -1)

    def compute_output_shape(self, input_shape):
        channels = input_shape[-1 if self.data_format == "channels_last" else 1]
        return (input_shape[0], 2 * channels)

    def get_config(self):
        return {**super().get_config(), "order": self.order, "data_format": self.data_format}


@keras.saving.register_keras_serializable(package="keras_dawn")
class PaddingForPooling2D(keras.layers.Layer):
    """Zeros around images for a "valid" convolution whose result is pooled without padding.

    Where the size is no multiple of the pool's, pooling drops the last rows and columns of a
    "same" convolution: 15 × 15 of them give 7 × 7 maxima of 14 × 14. This pads so that the
    convolution computes only what is pooled; the pooled values are the same.

    Args:
        kernel_size: odd int, of the convolution.
        pool_size: int, up to `(kernel_size + 1) / 2`, of the pooling and its strides.
        data_format: as in Keras's pooling layers.

    Input: `(batch, height, width, channels)` (or channels first). Output: the same with
    `kernel_size - 1 - height % pool_size` rows more, and as many columns by the width.

    Raises:
        ValueError: other kernel or pool sizes.

    Example:
        >>> tuple(PaddingForPooling2D()(torch.ones(2, 15, 14, 3)).shape)
        (2, 16, 16, 3)
    """

    def __init__(self, kernel_size=3, pool_size=2, data_format=None, **kwargs):
        super().__init__(**kwargs)
        if kernel_size % 2 != 1 or not 1 <= pool_size <= (kernel_size + 1) // 2:
            raise ValueError(
                "`kernel_size` must be odd and `pool_size` from 1 to (kernel_size + 1) / 2, got "
                f"{kernel_size} and {pool_size}."
            )
        self.kernel_size, self.pool_size = kernel_size, pool_size
        self.data_format = keras.config.image_data_format() if data_format is None else data_format

    def padding(self, size):
        """Zeros before and after an axis of this size."""
        return self.kernel_size // 2, self.kernel_size // 2 - size % self.pool_size

    def call(self, inputs):
        first = self._first_axis()
        pairs = [(0, 0)] * 4
        pairs[first : first + 2] = [self.padding(inputs.shape[first + i]) for i in (0, 1)]
        return keras.ops.pad(inputs, pairs)

    def compute_output_shape(self, input_shape):
        shape, first = list(input_shape), self._first_axis()
        for axis in (first, first + 1):
            if shape[axis] is not None:
                shape[axis] += sum(self.padding(shape[axis]))
        return tuple(shape)

    def _first_axis(self):
        return 1 if self.data_format == "channels_last" else 2

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "pool_size": self.pool_size,
            "data_format": self.data_format,
        }


@keras.saving.register_keras_serializable(package="keras_dawn")
class Scale(keras.layers.Layer):
    """Multiplies by a fixed number, such as 0.125 for the logits of David Page's ResNet-9.

    Args:
        factor: float.

    Example:
        >>> float(Scale(0.125)(torch.tensor(8.0)))
        1.0
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = float(factor)

    def call(self, inputs):
        return inputs * self.factor

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
