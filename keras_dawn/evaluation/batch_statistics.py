"""Batch normalisation's statistics, measured anew for the weights as they are."""

from keras_dawn.data.batches import Batches
from keras_dawn.distributed.batch_norm import normalization_layers
from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.foundation.model_state import kept, overwrite
from keras_dawn.foundation.random_state import random_state, set_random_state

import keras
import torch
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def estimate_statistics(model, x, *, batch_size=256):
    """Sets moving means and variances to their plain averages over the batches of some data.

    Averaged or otherwise changed weights need it, and statistics that are not finite. As
    `torch.optim.swa_utils.update_bn`, but with Keras's variance, which is not corrected for the
    size of the batch; torch's own modules in a model have torch's. Random numbers are left as they
    were, and where there is an error the statistics too. On several ranks each goes through all of
    the data.

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
    modules, frozen = _torchs(model, trainable=True), _torchs(model, trainable=False)
    if not (layers or modules):
        return model
    settings = [(layer.momentum, layer.synchronized) for layer in layers]
    momenta = [module.momentum for module in modules]
    statistics = [v.value for layer in layers for v in (layer.moving_mean, layer.moving_variance)]
    statistics += _buffers(modules)
    before = [values.clone() for values in statistics]
    # A pass in training mode draws from the layers' seed generators and counts them on.
    counts = [v.value for v in model.variables if not v.value.is_floating_point()]
    random, batches = random_state(), 0
    try:
        with kept([*_buffers(frozen), *counts]):
            for images, _ in Batches(x, batch_size=batch_size):
                for layer in layers:
                    # With momentum n / (n + 1) a moving average is the plain one of n + 1 batches.
                    layer.momentum, layer.synchronized = batches / (batches + 1), False
                for module in modules:
                    module.momentum = None  # which is the plain average to torch
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
        for module, momentum in zip(modules, momenta, strict=True):
            module.momentum = momentum
        set_random_state(random)
    if not batches:
        raise ValueError("There are no images to measure statistics on.")
    return model


def _torchs(model, trainable):
    """torch's normalisations with moving averages, in layers that are frozen or not."""
    wrappers = [
        layer
        for layer in all_layers(model)
        if isinstance(layer, keras.layers.TorchModuleWrapper) and bool(layer.trainable) is trainable
    ]
    modules = {id(m): m for wrapper in wrappers for m in wrapper.module.modules()}.values()
    return [m for m in modules if isinstance(m, _BatchNorm) and m.running_mean is not None]


def _buffers(modules):
    return [buffer for module in modules for buffer in module.buffers()]


def _put(tensors, values):
    for tensor, value in zip(tensors, values, strict=True):
        overwrite(tensor, value)
