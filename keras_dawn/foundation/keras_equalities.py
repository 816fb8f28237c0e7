"""`x == y` and `keras.ops.ndim` in Python that runs on symbolic tensors."""

import contextlib
import threading

from keras_dawn.foundation import keras_context
from keras_dawn.foundation.keras_symbols import TraceError

import keras
import numpy as np
import torch
from keras.src.ops.numpy import Ndim

_NUMBERS = (bool, int, float)


@contextlib.contextmanager
def equalities_noted():
    """In this thread, outside Keras's shape inference, symbolic tensors do as real ones there.

    Keras leaves `==` of symbolic tensors to Python, for which two objects are not equal, and says
    the number of axes by a tensor. Real tensors are compared number by number.
    """
    thread = threading.get_ident()

    def __eq__(self, other):  # noqa: N807
        if not keras_context.is_noting(thread):
            return NotImplemented
        if type(other) in _NUMBERS or isinstance(other, (keras.KerasTensor, torch.Tensor)):
            return keras.ops.equal(self, other)
        if isinstance(other, (np.ndarray, np.generic, keras.Variable, list, tuple)):
            raise TraceError(f"it compares a tensor with a {type(other).__name__}")
        return NotImplemented

    kind, symbolic_call = keras.KerasTensor, Ndim.symbolic_call
    own = vars(kind).get("__eq__")  # Keras 3.15 has only `__ne__`
    if own is None:
        kind.__eq__ = __eq__
    Ndim.symbolic_call = lambda operation, x: len(x.shape)
    try:
        yield
    finally:
        if own is None:
            del kind.__eq__
        Ndim.symbolic_call = symbolic_call
