"""Walks over structures of outputs, targets and weights that leave no reference cycles behind."""

from keras_dawn.foundation import keras_masks
from keras_dawn.foundation.device import moved

import keras
import torch


def beside(part, outputs):
    """Targets or weights on the device of the outputs; in a structure, each for itself."""
    if part is None:
        return None
    if isinstance(part, torch.Tensor) and isinstance(outputs, torch.Tensor):
        return part if part.device == outputs.device else moved(part, outputs.device)
    if isinstance(part, (list, tuple, dict)):
        return keras.tree.map_structure(lambda one: beside(one, outputs), part)
    if not isinstance(part, torch.Tensor) and hasattr(part, "__array__"):
        with keras.device("cpu"):  # to a GPU it goes below, without a wait
            part = keras.ops.convert_to_tensor(part)
    if isinstance(part, torch.Tensor):
        first = flat_tensors(outputs)[0]
        if part.device != first.device:
            part = moved(part, first.device)
    return part


def flat_tensors(outputs):
    """The outputs, flat; a model's Python may also say `None`."""
    return [tensor for tensor in leaves(outputs) if tensor is not None]


def leaves(outputs):
    """The tensors of a structure, in Keras's order.

    `keras.tree` would leave functions behind that refer to themselves and to the outputs: these,
    and all that their gradients need, lived on until Python collects its garbage.
    """
    if isinstance(outputs, (list, tuple)):
        return [leaf for part in outputs for leaf in leaves(part)]
    if isinstance(outputs, dict):
        # Keras's order of a dict: that of its keys.
        return [leaf for key in sorted(outputs) for leaf in leaves(outputs[key])]
    return [outputs] if outputs is None or isinstance(outputs, torch.Tensor) else _leaves(outputs)


def packed(structure, flat):
    """Tensors of an iterator in a structure of lists, tuples and dicts; see `leaves`."""
    if type(structure) is int:  # as the leaves of a lowering's are
        return next(flat)
    if type(structure) in (list, tuple):
        return type(structure)([packed(part, flat) for part in structure])
    if type(structure) is dict:
        found = {key: packed(structure[key], flat) for key in sorted(structure)}
        return {key: found[key] for key in structure}
    if keras.tree.is_nested(structure):
        return keras.tree.pack_sequence_as(structure, [next(flat) for _ in _leaves(structure)])
    return next(flat)


def detached(outputs):
    """The outputs without their gradients, masks kept."""
    if isinstance(outputs, torch.Tensor):
        return keras_masks.with_mask(outputs.detach(), keras_masks.mask_of(outputs))
    if type(outputs) in (list, tuple):
        return type(outputs)([detached(part) for part in outputs])
    if type(outputs) is dict:
        return {key: detached(part) for key, part in outputs.items()}
    return outputs


def _leaves(structure):
    return keras.tree.flatten(structure)
