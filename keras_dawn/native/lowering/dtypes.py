"""Which dtype an operation of Keras gives, by Keras's names."""

import functools

import keras
import torch

HALF = ("float16", "bfloat16")


def is_float(dtype):
    """Whether a dtype, by Keras's name, is a floating-point one."""
    return "float" in dtype


@functools.cache
def torch_dtype(dtype):
    """torch's dtype for Keras's name; Keras holds some unsigned integers in signed ones."""
    return keras.ops.zeros((), dtype=dtype).dtype


def keras_dtype(tensor):
    """Keras's name of a tensor's dtype."""
    return keras.backend.standardize_dtype(tensor.dtype)


def floats_in(tensor, dtype):
    """A floating-point tensor in a dtype of torch's; any other one as it is."""
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def result_type(*dtypes):
    """What Keras casts the operands of some operations to.

    On torch Keras's own rule turns float64 into float32; where that is what one computes in
    (`keras.config.floatx()`), it stays what it is here.
    """
    if "float64" in dtypes and keras.config.floatx() == "float64":
        return "float64"
    return keras.backend.result_type(*dtypes)


def promoted(*values):
    """The dtype that torch gives a result of several `Value`s (or tensors, or numbers)."""

    def sample(value):
        if isinstance(value, (bool, int, float, torch.Tensor)):
            return value
        return torch.empty((1,) * value.rank, dtype=torch_dtype(value.dtype), device="meta")

    samples = [sample(value) for value in values]
    result = samples[0]
    for other in samples[1:]:
        result = torch.empty(
            (1,) * max(_rank(result), _rank(other)),
            dtype=torch.result_type(result, other),
            device="meta",
        )
    return keras_dtype(result)


def _rank(sample):
    return sample.ndim if isinstance(sample, torch.Tensor) else 0
