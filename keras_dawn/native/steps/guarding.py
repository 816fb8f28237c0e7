"""Tensors between native layers and Python of the user's that may change them in place.

Keras's layers copy and save other tensors than native ones do: `x += self.conv(x)` trains there,
while torch refuses the gradients of a native convolution whose input has been written to. Where
Python that runs as it is may write so, what a native layer saves of its input is copied, and what
it returns is a tensor that nothing else needs, except where it shares memory with the input, as
Keras's does. Nobody else pays for it.
"""

import contextlib
import functools
import threading

from keras_dawn.foundation import keras_masks

import keras
import torch

_state = threading.local()

CHANGED = (
    "one of the variables needed for gradient computation has been modified by an inplace "
    "operation: what a native layer has saved, such as a weight"
)


@contextlib.contextmanager
def guarded():
    """Inside, native layers guard what they save and return."""
    before = getattr(_state, "wanted", False)
    _state.wanted = True
    try:
        yield
    finally:
        _state.wanted = before


def is_guarding():
    """Whether tensors are to be guarded now."""
    if not getattr(_state, "wanted", False) or not torch.is_grad_enabled():
        return False
    # No hooks on what is saved inside torch's function transforms.
    return torch._C._functorch.peek_interpreter_stack() is None


def is_saving():
    """Whether what autograd saves goes through the hooks of this file."""
    return getattr(_state, "saving", False)


def saving_apart(function, tensors):
    """The function; when it runs, autograd saves copies of what shares memory with the tensors."""

    @functools.wraps(function)
    def run(*arguments):
        with _saved_apart(tensors):
            return function(*arguments)

    return run


@contextlib.contextmanager
def _saved_apart(tensors):
    memory = {_memory(x) for x in tensors}

    def pack(tensor):
        if _memory(tensor) in memory:
            tensor = tensor.clone()
        return tensor, tensor._version

    def unpack(saved):
        tensor, version = saved
        if tensor._version != version:  # with hooks torch does not look
            raise RuntimeError(f"{CHANGED} ({tuple(tensor.shape)})")
        return tensor

    before, _state.saving = is_saving(), True
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
            yield
    finally:
        _state.saving = before


def fresh(outputs, tensors):
    """The outputs of a call, each one that has memory of its own as a copy.

    Args:
        outputs: structure of tensors.
        tensors: the inputs of the call.
    """
    memory = {_memory(x) for x in tensors}
    copies = {}

    def copied(output):
        if not isinstance(output, torch.Tensor) or not output.requires_grad:
            return output
        if _memory(output) in memory:
            return output
        if id(output) not in copies:
            copies[id(output)] = output.clone()
            mask = keras_masks.mask_of(output)
            if mask is not None:
                keras_masks.attach_mask(copies[id(output)], mask)
        return copies[id(output)]

    return keras.tree.map_structure(copied, outputs)


def _memory(tensor):
    return tensor.untyped_storage().data_ptr() or id(tensor)
