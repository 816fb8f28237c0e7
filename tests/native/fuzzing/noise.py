"""Noise of the size of rounding in plain Keras, to see how stable a program's numbers are."""

import contextlib
from unittest import mock

import keras
import numpy as np

from tests.on_device import torch


class _Noise:
    """How far numbers are pushed, relatively; 0 for not at all."""

    size = 0.0
    seed = 0


@contextlib.contextmanager
def pushed(size, seed):
    """A context in which a program's data, weights and what its layers read are not exact.

    Noise on data and weights does not reach a number that is the same for all of them, such as
    the 0 that a normalised constant is in exact arithmetic: rounding inside the layers does.

    Args:
        size: float, relative; nothing happens where it is 0.
        seed: int.
    """
    if not size:
        yield
        return
    call, random = keras.Layer.__call__, torch.Generator().manual_seed(seed)

    def noisy(layer, *args, **kwargs):
        args = keras.tree.map_structure(lambda part: _pushed_tensor(part, size, random), args)
        return call(layer, *args, **kwargs)

    _Noise.size, _Noise.seed = size, seed
    try:
        with mock.patch.object(keras.Layer, "__call__", noisy):
            yield
    finally:
        _Noise.size = 0.0


def _pushed_tensor(part, size, random):
    if not isinstance(part, torch.Tensor) or not part.is_floating_point():
        return part
    noise = torch.randn(part.shape, generator=random, dtype=part.dtype)
    result = part * (1 + size * noise)
    if getattr(part, "_keras_mask", None) is not None:
        result._keras_mask = part._keras_mask
    return result


def pushed_array(array, seed):
    """An array, with noise in such a context."""
    if not _Noise.size or array.dtype.kind != "f":
        return array
    random = np.random.default_rng((_Noise.seed, seed))
    return (array * (1 + _Noise.size * random.normal(size=array.shape))).astype(array.dtype)
