"""The version of Keras, and what is told from it."""

import keras

VERSION = tuple(int(number) for number in keras.__version__.split(".")[:2])


def wraps_models_itself():
    """Whether this Keras's `fit` uses DistributedDataParallel by itself (from 3.16 on)."""
    return VERSION >= (3, 16)
