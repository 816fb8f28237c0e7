"""Targets and sample weights on the device of the outputs."""

from keras_dawn.foundation.device import moved

import keras
import numpy as np
import torch


def beside(part, outputs):
    """Targets or weights on the device of the outputs; in a structure, each for itself."""
    if isinstance(part, (list, tuple, dict)):
        return keras.tree.map_structure(lambda one: beside(one, outputs), part)
    if isinstance(part, np.ndarray):
        part = torch.as_tensor(part)
    if isinstance(part, torch.Tensor):
        first = flat_tensors(outputs)[0]
        if part.device != first.device:
            part = moved(part, first.device)
    return part


def flat_tensors(outputs):
    """The outputs, flat; a model's Python may also say `None`."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for tensor in keras.tree.flatten(outputs) if tensor is not None]
