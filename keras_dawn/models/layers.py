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
