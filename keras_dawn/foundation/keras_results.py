"""What `keras.ops` return in Python that runs on symbolic tensors: what they say, put right."""

import contextlib
import threading

from keras_dawn.foundation import keras_context, keras_operations
from keras_dawn.foundation.keras_symbols import TraceError

import keras
import torch
from keras.src import backend
from keras.src.ops.node import Node


@contextlib.contextmanager
def results_computed():
    """In this thread, outside Keras's shape inference, results have the shapes that torch gives.

    A few operations say another shape or dtype than they return (`rot90` by a half turn, `kron` of
    a number), and Python may ask for it, whether it computes with the result or not.
    """
    thread, note = threading.get_ident(), Node.__init__

    def __init__(node, operation, *args, **kwargs):  # noqa: N807
        note(node, operation, *args, **kwargs)
        if not keras_context.is_noting(thread):
            return
        known = not any(map(_is_open, node.input_tensors))
        if known and keras_operations.computes_in_torch(operation):
            _put_right(node)

    Node.__init__ = __init__
    try:
        yield
    finally:
        Node.__init__ = note


def _put_right(node):
    found = _computed(node)
    if found is None:
        if any(map(_is_open, node.outputs)):
            kind = type(node.operation).__name__
            raise TraceError(f"the sizes of what {kind} returns depend on numbers")
        return
    for symbol, tensor in zip(node.outputs, found, strict=True):
        dtype = keras.backend.standardize_dtype(tensor.dtype)
        if (symbol.shape, symbol.dtype) != (tuple(tensor.shape), dtype):
            symbol._shape, symbol._dtype = tuple(tensor.shape), dtype


def _computed(node):
    """The results as tensors without numbers, flat, or `None` where only numbers give them."""
    arguments = node.arguments
    scopes = backend.StatelessScope(), backend.SymbolicScope(), torch.no_grad()
    with contextlib.ExitStack() as stack:
        for scope in (*scopes, backend.device_scope("meta")):
            stack.enter_context(scope)
        try:
            args, kwargs = keras.tree.map_structure(
                _without_numbers, (arguments.args, arguments.kwargs)
            )
            found = keras.tree.flatten(node.operation.call(*args, **kwargs))
        except (AttributeError, TypeError) as error:
            # As `ConvTranspose` without a `data_format`, which only its function fills in.
            raise TraceError(f"{type(node.operation).__name__} cannot compute: {error}") from error
        except Exception:  # some look at numbers
            return None
    fits = len(found) == len(node.outputs) and all(map(torch.is_tensor, found))
    return found if fits and not any(tensor.is_complex() for tensor in found) else None


def _without_numbers(part):
    if isinstance(part, keras.KerasTensor):
        dtype = keras.ops.zeros((), dtype=part.dtype).dtype
        return torch.empty(part.shape, dtype=dtype, device="meta")
    return part.detach().to("meta") if isinstance(part, torch.Tensor) else part


def _is_open(tensor):
    return None in tensor.shape
