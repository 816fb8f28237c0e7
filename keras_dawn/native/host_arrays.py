"""NumPy arrays whose batches are copied to a GPU without waiting for it."""

from keras_dawn.foundation.device import moved

import keras
import numpy as np
import torch

_DATA = ("x", "y", "sample_weight", "validation_data")


class HostArray(np.ndarray):
    """A NumPy array that gives the rows of a batch as a tensor on a device.

    Keras takes the rows of a batch by a list of their places, and copies them to the device in a
    way that waits until all steps before are done. Everything else is as with any other array.
    """

    device = None

    def __array_finalize__(self, origin):
        self.device = getattr(origin, "device", None)

    def __getitem__(self, places):
        rows = super().__getitem__(places)
        # Keras takes batches by lists of places; slices are the user's, who wants an array.
        if self.device is None or not isinstance(places, list):
            return rows
        return moved(torch.from_numpy(np.asarray(rows)), self.device)


def on_the_way(model, name, arguments, device):
    """The arguments of a `fit`, `evaluate` or `predict`, arrays in it as `HostArray`.

    Args:
        model: `keras.Model`.
        name: str, the method.
        arguments: dict, by name.
        device: str, the type of the model's device. Nothing is changed for one that is no GPU, for
            a method of the model's own, and for arrays of what Keras has no such dtype for on
            torch: it makes int32 of uint16.
    """
    if device != "cuda" or getattr(type(model), name) is not getattr(keras.Model, name):
        return arguments

    def host_array(leaf):
        if type(leaf) is not np.ndarray or not _is_torchs(leaf.dtype):
            return leaf
        found = leaf.view(HostArray)
        found.device = torch.device(device)
        return found

    return {
        key: keras.tree.map_structure(host_array, value, none_is_leaf=True)
        if key in _DATA and isinstance(value, (np.ndarray, list, tuple, dict))
        else value
        for key, value in arguments.items()
    }


def _is_torchs(dtype):
    return dtype.isnative and (dtype.kind in "fib" or dtype == np.uint8)
