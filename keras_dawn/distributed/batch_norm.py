"""Batch normalisation on several ranks: statistics of one rank, averaged, or of all."""

from keras_dawn.foundation.keras_layers import all_layers

import keras


def synchronize_batch_normalization(model):
    """Makes a model's batch normalisation use the statistics of all ranks' batches.

    Without it each rank normalises by its own part of the batch, as the DAWNBench entries
    did, and the moving averages are averaged before an evaluation and at the end of an
    epoch. With it a step is that of one process with the whole batch, at the price of two
    messages a layer in each direction. On a single process it changes nothing.

    Args:
        model: built `keras.Model`; call this before the first `fit`.

    Returns:
        The model itself.

    Example:
        >>> model = keras_dawn.models.WideResNet(10, 1)
        >>> model = keras_dawn.distributed.synchronize_batch_normalization(model)
    """
    for layer in normalization_layers(model):
        layer.synchronized = True
    return model


def normalization_layers(model):
    """Every built `BatchNormalization` in a model, at any depth."""
    return [
        layer
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.built
    ]
