"""Vectors made of length 1, as Keras makes them."""

import keras
import torch


def of_length_one(vectors, axis=None):
    """The vectors along an axis, each divided by its length.

    Args:
        vectors: float tensor.
        axis: int, or `None` for one vector of all numbers.
    """
    scale = torch.rsqrt(vectors.square().sum(axis, keepdim=True))
    # Keras bounds the reciprocal length, so that a vector of zeros stays zeros. Half precision
    # has no number as large as that bound, and is not bounded.
    most = 1 / keras.config.epsilon()
    if most < torch.finfo(scale.dtype).max:
        scale = scale.clamp(max=most)
    return vectors * scale
