"""Batch normalisation's statistics, measured anew for the weights as they are."""

from keras_dawn.data.batches import Batches
from keras_dawn.distributed.batch_norm import normalization_layers
from keras_dawn.foundation.model_state import overwrite
from keras_dawn.foundation.random_state import random_state, set_random_state

import torch


@torch.no_grad()
def estimate_statistics(model, x, *, batch_size=256):
    """Sets moving means and variances to their plain averages over the batches of some data.

    Averaged or otherwise changed weights need it, and statistics that are not finite. As
    `torch.optim.swa_utils.update_bn`, but with Keras's variance, which is not corrected for the
    size of the batch. Random numbers are left as they were, and where there is an error the
    statistics too. On several ranks each goes through all of the data.

    Args:
        model: built `keras.Model`; layers that are frozen keep their statistics.
        x: images, or data that yields batches of them, with labels or without.
        batch_size: int, of the batches that arrays are cut into.

    Returns:
        The model itself.

    Raises:
        ValueError: no images.

    Example:
        >>> model = keras_dawn.models.WideResNet(10, 1)
        >>> model = estimate_statistics(model, np.ones((4, 32, 32, 3), "float32"))
    """
    layers = [layer for layer in normalization_layers(model) if layer.trainable]
    if not layers:
        return model
    settings = [(layer.momentum, layer.synchronized) for layer in layers]
    statistics = [v.value for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    before = [values.clone() for values in statistics]
    # A pass in training mode draws from the layers' seed generators and counts them on.
    seeds = [(v, v.value.clone()) for v in model.variables if not v.value.is_floating_point()]
    random, batches = random_state(), 0
    try:
        for images, _ in Batches(x, batch_size=batch_size):
            for layer in layers:
                # With momentum n / (n + 1) a moving average is the plain one of n + 1 batches.
                layer.momentum, layer.synchronized = batches / (batches + 1), False
            if not batches:  # what is not finite would stay so under a momentum of 0
                _put(statistics, map(torch.zeros_like, before))
            model(images, training=True)
            batches += 1
    except BaseException:
        _put(statistics, before)
        raise
    finally:
        for layer, (momentum, synchronized) in zip(layers, settings, strict=True):
            layer.momentum, layer.synchronized = momentum, synchronized
        for variable, value in seeds:
            overwrite(variable.value, value)
        set_random_state(random)
    if not batches:
        raise ValueError("There are no images to measure statistics on.")
    return model


def _put(tensors, values):
    for tensor, value in zip(tensors, values, strict=True):
        overwrite(tensor, value)
