"""Layers of one's own whose Python only combines layers and `keras.ops`, lowered with them.

The calls that such a `call` makes are noted by running it on symbolic tensors: for the sizes that
the graph leaves open, and for several sizes each, which have to give the same calls. A number that
follows the size of the batch would be another one at every step; only the one axis of a reshape
that is left to be found from the rest may be such.
"""

from keras_dawn.foundation import keras_layers, keras_trace
from keras_dawn.foundation.keras_layer_call import is_ordinary
from keras_dawn.native.lowering.arguments import cast
from keras_dawn.native.lowering.pure_python import ImpureError, check_pure
from keras_dawn.native.lowering.reads import Reads
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import numpy as np
import torch

# Sizes in place of open ones, of the batch and of any other axis: one, even, odd, large.
_SIZES = ((1, 67), (2, 97), (83, 130), (5003, 4099))


def calls_of_own_layer(builder, node, args, kwargs, training):
    """What a layer's own Python calls, and on which values.

    Args:
        builder: `GraphBuilder`.
        node: the call's node of Keras's graph.
        args, kwargs: what it is called with, `Value`s in place of tensors.
        training: bool, or `None` where nobody is told the mode.

    Returns:
        `(nodes, values by the ids of their KerasTensors, outputs)` as the walk takes them.

    Raises:
        LoweringError: it may do more, or something else at another step; the message says why.
    """
    layer = node.operation
    values = _tensors(builder, layer, node, args, kwargs)
    shapes = [tensor.shape for tensor in node.input_tensors]
    try:
        _check_layer(layer, builder.reads)
        found = _trace(layer, shapes, values, training)
        opened = any(size is None for shape in shapes for size in shape)
        for batch, other in _SIZES if opened else ():
            sized = [_sized(shape, batch, other) for shape in shapes]
            _compare(found, _trace(layer, sized, values, training))
    except ImpureError as error:
        raise LoweringError(f"no rule, and Python of its own: {error}") from error
    except (keras_trace.TraceError, SizesError) as error:
        raise LoweringError(f"no rule, and Python that cannot be noted: {error}") from error
    known = dict(zip(map(id, found.inputs), values, strict=True))
    for symbol, tensor in found.constants:
        known[id(symbol)] = builder.value(tensor)
    outputs = keras.tree.flatten(found.outputs)
    if [len(tensor.shape) for tensor in outputs] != [len(t.shape) for t in node.outputs]:
        raise LoweringError("no rule, and its Python returns other axes")
    return found.nodes, known, outputs


def only_combines(layer):
    """Whether a built layer's Python may be lowered with the layers it calls."""
    if keras_layers.class_of(layer).__module__.startswith("keras.src."):
        return False
    try:
        _check_layer(layer, Reads())
    except ImpureError:
        return False
    return True


def _check_layer(layer, reads):
    """Raises `ImpureError` unless a layer does no more than a `call` that combines layers."""
    if not is_ordinary(layer):
        raise ImpureError("its call is not Keras's ordinary one")
    if keras_layers.own_variables(layer):
        raise ImpureError("weights of its own beside layers")
    check_pure(layer, reads)


class SizesError(ValueError):
    """Calls that depend on sizes; the message says which."""


def _tensors(builder, layer, node, args, kwargs):
    """The positional arguments, tensors without masks, as the layer's call casts them."""
    if kwargs or not all(isinstance(value, Value) for value in args):
        raise LoweringError("no rule, and called with more than tensors")
    if len(args) != len(node.input_tensors):
        raise LoweringError("no rule, and called with arrays")
    if any(value.mask is not None for value in args):
        raise LoweringError("no rule, and an input with a mask")
    if keras_layers.converts_inputs(layer):
        args = [cast(builder, layer, value) for value in args]
    if any(value.guessed for value in args):
        raise LoweringError("no rule, and an input whose dtype is known at run time only")
    return list(args)


def _sized(shape, batch, other):
    first = batch if shape and shape[0] is None else None
    sized = [other if size is None else size for size in shape]
    return (first, *sized[1:]) if first else tuple(sized)


def _trace(layer, shapes, values, training):
    symbols = [
        keras.KerasTensor(shape, value.dtype) for shape, value in zip(shapes, values, strict=True)
    ]
    try:
        return keras_trace.trace(layer, symbols, training)
    except keras_trace.TraceError:
        raise
    except Exception as error:  # of the user's Python, which is not made for symbolic tensors
        raise SizesError(f"{type(error).__name__} with tensors of open sizes") from error


def _compare(found, sized):
    """Raises `SizesError` unless two traces make the same calls; repairs a reshape's open axis."""
    if len(found.nodes) != len(sized.nodes) or len(found.constants) != len(sized.constants):
        raise SizesError("other calls with other sizes")
    for (_, one), (_, other) in zip(found.constants, sized.constants, strict=True):
        _check_same("a constant", one, other)
    for one, other in zip(found.nodes, sized.nodes, strict=True):
        _same_operation(one.operation, other.operation)
    _check_same("an argument", _said(found), _said(sized))


def _said(trace):
    """The arguments of all calls and the outputs, with numbers in place of symbolic tensors."""
    tensors = [*trace.inputs, *(symbol for symbol, _ in trace.constants)]
    tensors += [tensor for node in trace.nodes for tensor in node.outputs]
    numbers = {id(tensor): f"tensor {number}" for number, tensor in enumerate(tensors)}
    parts = [(node.arguments.args, node.arguments.kwargs) for node in trace.nodes]
    return keras.tree.map_structure(
        lambda part: numbers.get(id(part), part), [parts, trace.outputs]
    )


def _same_operation(one, other):
    if isinstance(one, keras.Layer):
        if one is not other:
            raise SizesError("other layers with other sizes")
        return
    if type(one) is not type(other):
        raise SizesError("other operations with other sizes")
    ours, theirs = keras_trace.settings_of(one), keras_trace.settings_of(other)
    if type(one).__name__ == "Reshape" and isinstance(one.newshape, (tuple, list)):
        shape = tuple(one.newshape)
        if sum(size is None for size in shape) == 1 and -1 not in shape:
            one.newshape = shape = tuple(-1 if size is None else size for size in shape)
        if shape.count(-1) == 1 and len(shape) == len(theirs["newshape"]):
            open_axis = shape.index(-1)
            # The other trace wrote the size that it was given there.
            theirs["newshape"] = tuple(
                -1 if axis == open_axis else size for axis, size in enumerate(theirs["newshape"])
            )
        ours = {**ours, "newshape": shape}
    _check_same(f"a setting of {type(one).__name__}", ours, theirs)


def _check_same(what, one, other):
    """Raises `SizesError` unless two arguments or settings are equal."""
    if not _same(one, other):
        raise SizesError(f"{what} depends on the size of the batch")


def _same(one, other):
    """Whether two arguments or settings are equal, structure and type."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, slice):
        return _same((one.start, one.stop, one.step), (other.start, other.stop, other.step))
    if isinstance(one, torch.Tensor):
        return one.shape == other.shape and torch.equal(one, other) and not one.requires_grad
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and bool((one == other).all())
    return one is other or bool(one == other)
