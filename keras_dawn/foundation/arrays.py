"""Tensors of NumPy's arrays, however these lie in memory."""

from keras_dawn.foundation.silence import silenced

import numpy as np
import torch

_INSTEAD = {"uint16": "int32", "uint32": "int64"}  # of which torch has few operations


def tensor_of(value):
    """A tensor of an array or of another tensor, in the same memory where torch takes that.

    Copied are arrays whose steps run backwards, as those of mirror images do (`x[:, :, ::-1]`),
    and numbers in the byte order of other processors. `uint16` and `uint32` become `int32` and
    `int64`, as in Keras. It is to be read only: others may not be allowed to write there.

    Args:
        value: array, tensor, column of a data frame, number or list of numbers.

    Example:
        >>> tensor_of(np.arange(3)[::-1])
        tensor([2, 1, 0])
    """
    if isinstance(value, torch.Tensor) or not hasattr(type(value), "__array__"):
        return torch.as_tensor(value)
    value = np.asarray(value)  # torch would ask a part of a column for its number 0
    kind = _INSTEAD.get(value.dtype.name, value.dtype.newbyteorder("="))
    value = value.astype(kind, copy=any(stride < 0 for stride in value.strides))
    with silenced("The given NumPy array is not writable"):  # and nobody writes there
        return torch.from_numpy(value)
