"""Moving averages of batch normalisation that are called one by one."""

from keras_dawn.foundation import keras_variables

import torch


def average_now(layers, statistics):
    """Averages a call's batch statistics in at once, as Keras's layer does when it is called.

    Args:
        layers: list of `BatchNormalization`.
        statistics: `(mean, inverse deviation)` for each.
    """
    for layer, (mean, deviation) in zip(layers, statistics, strict=True):
        average(
            keras_variables.memory_of(layer.moving_mean),
            keras_variables.memory_of(layer.moving_variance),
            mean,
            deviation,
            layer.momentum,
            layer.epsilon,
        )


def average(moving_mean, moving_variance, mean, deviation, momentum, epsilon, skip=None):
    """Averages one mean and one inverse deviation in; Keras averages the biased variance."""
    # What the kernel saves is 1 / sqrt(variance + epsilon): turned back, not summed again.
    variance = deviation.to(moving_variance.dtype).pow(-2).sub_(epsilon)
    for moving, new in ((moving_mean, mean.to(moving_mean.dtype)), (moving_variance, variance)):
        if skip is None:
            moving.lerp_(new, 1 - momentum)
        else:
            moving.copy_(torch.where(skip, moving, moving.lerp(new, 1 - momentum)))
