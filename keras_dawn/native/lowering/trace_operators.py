"""Python's operators in a trace: where torch's do something else with tensors than Keras's."""

from keras_dawn.foundation import keras_trace
from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.trace_sizes import SizesError

import keras
import torch

# Those of two tensors whose result is memory that nobody else has.
_FRESH = (
    "Add", "Subtract", "Multiply", "TrueDivide", "Einsum", "Matmul", "Where", "Stack",
    "Concatenate",
)  # fmt: skip
_VIEWS = ("Reshape", "Transpose", "ExpandDims", "Squeeze")


def check_scalars(nodes):
    """Refuses tensors of no axes and of another dtype: torch's operators do not let them count."""
    for node in nodes:
        if isinstance(node.operation, keras.Layer):
            continue
        tensors = _tensors(node)
        dtypes = {keras.backend.standardize_dtype(x.dtype) for x in tensors if len(x.shape)}
        for scalar in tensors:
            if len(scalar.shape) or not dtypes:
                continue
            dtype = keras.backend.standardize_dtype(scalar.dtype)
            if dtypes != {dtype} and (is_float(dtype) or not all(map(is_float, dtypes))):
                raise SizesError(f"a number of {dtype} beside tensors of {', '.join(dtypes)}")


def check_changed(trace, changed):
    """Refuses `x += y` unless `x` was made for it: nobody else may see the change.

    Args:
        trace: `Trace`.
        changed: the tensors `x`, symbolic.
    """
    outputs = {id(tensor) for tensor in keras.tree.flatten(trace.outputs)}
    for tensor in changed:
        readers = _readers(trace, tensor)
        if (
            not readers
            and _maker(trace, tensor) is None
            and keras_trace.is_result_of(tensor, _FRESH)
        ):
            continue  # nothing came of it
        if not _is_fresh(trace, tensor) or id(tensor) in outputs or len(readers) != 1:
            raise SizesError("an operator that changes a tensor in place")
        (result,) = readers[0].outputs
        if (result.shape, result.dtype) != (tensor.shape, tensor.dtype):
            raise SizesError("an operator that changes a tensor in place, to another shape")


def _is_fresh(trace, tensor):
    """Whether nobody else holds the memory of a tensor that a trace makes."""
    maker = _maker(trace, tensor)
    if maker is None:
        return False
    name, sources = type(maker.operation).__name__, _tensors(maker)
    if name in _FRESH:
        return len(sources) > 1
    if name not in _VIEWS or len(sources) != 1:
        return False
    (source,) = sources
    returned = any(x is source for x in keras.tree.flatten(trace.outputs))
    return not returned and _readers(trace, source) == [maker] and _is_fresh(trace, source)


def _maker(trace, tensor):
    return next((node for node in trace.nodes if any(x is tensor for x in node.outputs)), None)


def _readers(trace, tensor):
    return [node for node in trace.nodes if any(x is tensor for x in node.input_tensors)]


def _tensors(node):
    parts = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [x for x in parts if isinstance(x, (keras.KerasTensor, torch.Tensor))]
