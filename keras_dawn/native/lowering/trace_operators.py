"""Python's operators in a trace: where torch's do something else with tensors than Keras's."""

from keras_dawn.foundation import keras_layers, keras_masks
from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.trace_sizes import SizesError

import keras
import torch
from keras import layers

# Their result is memory that nobody else has.
_FRESH = (
    "Add", "Subtract", "Multiply", "TrueDivide", "Matmul", "Where", "Stack", "Concatenate",
)  # fmt: skip
_FRESH_LAYERS = (
    layers.Dense, layers.EinsumDense, layers.Embedding, layers.Conv1D, layers.Conv2D, layers.Conv3D,
    layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose, layers.DepthwiseConv1D,
    layers.DepthwiseConv2D, layers.SeparableConv1D, layers.SeparableConv2D,
    layers.BatchNormalization, layers.LayerNormalization,
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


def check_changed(trace, changed, nodes):
    """Refuses `x += y` unless `x` was made for it: nobody else may see the change.

    Args:
        trace: `Trace`.
        changed: the tensors `x`, symbolic.
        nodes: all calls that were made, also of what nobody used: `x += y` changes `x` then, too.
    """
    kept = {id(tensor) for tensor in keras.tree.flatten([trace.outputs, trace.losses])}
    for tensor in changed:
        readers = _readers(nodes, tensor)
        if keras_masks.mask_of(tensor) is not None:  # the result keeps it; its symbol is another
            raise SizesError("an operator that changes a masked tensor in place")
        if not _is_fresh(nodes, kept, tensor) or len(readers) != 1:  # `x += y` is one
            raise SizesError("an operator that changes a tensor in place")
        (result,) = readers[0].outputs
        if (result.shape, result.dtype) != (tensor.shape, tensor.dtype):
            raise SizesError("an operator that changes a tensor in place, to another shape")


def _is_fresh(nodes, kept, tensor):
    """Whether the memory of a tensor was made in these calls, and nobody else holds it."""
    maker = next((node for node in nodes if any(x is tensor for x in node.outputs)), None)
    if maker is None or id(tensor) in kept:
        return False
    operation, sources = maker.operation, _tensors(maker)
    if isinstance(operation, keras.Layer):
        return keras_layers.acts_as(operation) in _FRESH_LAYERS
    name = type(operation).__name__
    if name in _FRESH or (name == "Einsum" and len(sources) > 1):
        return True
    if name not in _VIEWS or len(sources) != 1:
        return False
    (source,) = sources
    return _readers(nodes, source) == [maker] and _is_fresh(nodes, kept, source)


def _readers(nodes, tensor):
    return [node for node in nodes if any(x is tensor for x in node.input_tensors)]


def _tensors(node):
    parts = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    return [x for x in parts if isinstance(x, (keras.KerasTensor, torch.Tensor))]
