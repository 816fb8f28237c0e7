"""The mask that Keras attaches to a tensor."""

import torch
from keras.src.backend.common import masking


def mask_of(tensor):
    """The mask that Keras has attached to a tensor (symbolic or not), or `None`."""
    if isinstance(tensor, torch.Tensor):
        return getattr(tensor, "_keras_mask", None)  # where Keras keeps it, and quicker
    return masking.get_keras_mask(tensor)


def attach_mask(tensor, mask):
    """Attaches a mask to a tensor, as Keras's layers do."""
    masking.set_keras_mask(tensor, mask)


def with_mask(tensor, mask):
    """The tensor, with a mask attached where there is one, and without where there is none."""
    # Most tensors have none, and are left as they are.
    if mask is not None or mask_of(tensor) is not None:
        attach_mask(tensor, mask)
    return tensor


def mask_left(tensor, cast, mask):
    """The mask of a tensor after it was taken off what the tensor was cast to, maybe itself."""
    return None if cast is tensor else mask
