"""`keras.ops` that move, cut or look up: reshape, transpose, split, take and the like."""

import itertools
import operator

from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.embeddings import lookup
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import torch

NUMPY, CORE = "keras.src.ops.numpy.", "keras.src.ops.core."


def _only(call):
    """The one tensor that an operation takes."""
    if call.kwargs or len(call.args) != 1 or not isinstance(call.args[0], Value):
        raise LoweringError("operands that are no tensors")
    return call.args[0]


def _numbers(numbers):
    """Whole numbers as a tuple."""
    numbers = numbers if isinstance(numbers, (list, tuple)) else (numbers,)
    return tuple(operator.index(number) for number in numbers)


def _moved(value, node, call):
    return value.with_node(node, rank=len(call.output.shape), torch_order=False)


def _said(builder, call, function, *settings):
    """The call of an operation with one tensor as one call of a torch function."""
    value = _only(call)
    node = builder.call(function, builder.keras_order(value), *settings, name=call.name)
    return _moved(value, node, call)


@rule(NUMPY + "Reshape")
def reshape(builder, operation, inputs, call):
    return _said(builder, call, torch.reshape, _numbers(operation.newshape))


@rule(NUMPY + "Ravel")
def ravel(builder, operation, inputs, call):
    return _said(builder, call, torch.flatten)


@rule(NUMPY + "Transpose")
def transpose(builder, operation, inputs, call):
    value = _only(call)
    axes = operation.axes
    axes = _numbers(range(value.rank - 1, -1, -1) if axes is None else axes)
    node = builder.graph.call_method("permute", (builder.keras_order(value), *axes))
    return _moved(value, node, call)


@rule(NUMPY + "Swapaxes")
def swapaxes(builder, operation, inputs, call):
    value = _only(call)
    axes = _numbers((operation.axis1, operation.axis2))
    node = builder.graph.call_method("transpose", (builder.keras_order(value), *axes))
    return _moved(value, node, call)


@rule(NUMPY + "Moveaxis")
def moveaxis(builder, operation, inputs, call):
    axes = _numbers(operation.source), _numbers(operation.destination)
    return _said(builder, call, torch.movedim, *axes)


@rule(NUMPY + "ExpandDims")
def expand_dims(builder, operation, inputs, call):
    value = _only(call)
    axes = _numbers(operation.axis)
    node = builder.keras_order(value)
    # In ascending order, since each place is one of the result's axes.
    for axis in sorted(axis % (value.rank + len(axes)) for axis in axes):
        node = builder.call(torch.unsqueeze, node, axis)
    return _moved(value, node, call)


@rule(NUMPY + "Squeeze")
def squeeze(builder, operation, inputs, call):
    if operation.axis is None:
        raise LoweringError("all axes of size 1, which the batch's may be")
    return _said(builder, call, torch.squeeze, _numbers(operation.axis))


@rule(NUMPY + "BroadcastTo")
def broadcast_to(builder, operation, inputs, call):
    return _said(builder, call, torch.broadcast_to, _numbers(operation.shape))


@rule(NUMPY + "Split", arguments=True)
def split(builder, operation, inputs, call):
    value = _only(call)
    axis, sections = operator.index(operation.axis), operation.indices_or_sections
    size = call.shapes[0][axis]
    if size is None or not size:
        raise LoweringError("an axis of unknown size")
    if isinstance(sections, int):
        sizes, count = size // sections, sections
    else:
        ends = (0, *_numbers(list(sections)), size)
        sizes = [end - start for start, end in itertools.pairwise(ends)]
        count = len(sizes)
    parts = builder.call(torch.split, builder.keras_order(value), sizes, axis, name=call.name)
    return [
        value.with_node(builder.call(operator.getitem, parts, number), torch_order=False)
        for number in range(count)
    ]


@rule(NUMPY + "Take")
def take(builder, operation, inputs, call):
    """Rows of a table, or places along one axis, by numbers in a tensor."""
    if call.kwargs or len(call.args) != 2 or not all(isinstance(x, Value) for x in call.args):
        raise LoweringError("operands that are no tensors")
    value, places = call.args
    if value.rank != 2 or operation.axis != 0:
        raise LoweringError("along another axis than a table's first")
    table, places = builder.keras_order(value), builder.keras_order(places)
    node = builder.call(lookup, table, places, torch.int64, name=call.name)
    return _moved(value, node, call)


@rule(NUMPY + "Tile")
def tile(builder, operation, inputs, call):
    return _said(builder, call, torch.tile, _numbers(operation.repeats))


@rule(NUMPY + "TakeAlongAxis")
def take_along_axis(builder, operation, inputs, call):
    """What numbers in a tensor of as many axes point to, along one axis; negative from its end."""
    if call.kwargs or len(call.args) != 2 or not all(isinstance(x, Value) for x in call.args):
        raise LoweringError("operands that are no tensors")
    if operation.axis is None:
        raise LoweringError("along no axis")
    value, places = map(builder.keras_order, call.args)
    axis = operator.index(operation.axis)
    node = builder.call(taken_along, value, places, axis, name=call.name)
    return _moved(call.args[0], node, call)


def taken_along(tensor, places, axis):
    """`keras.ops.take_along_axis` in torch's calls."""
    places = places.long()
    places = torch.where(places < 0, places + tensor.shape[axis], places)
    return torch.take_along_dim(tensor, places, axis)


@rule(CORE + "Slice")
def cut_out(builder, operation, inputs, call):
    """`keras.ops.slice` from where whole numbers say."""
    value, starts = call.args if len(call.args) == 2 else (None, None)
    if call.kwargs or not isinstance(value, Value) or isinstance(starts, Value):
        raise LoweringError("operands that are no tensors and numbers")
    places = zip(_numbers(starts), _numbers(operation.shape), strict=True)
    key = tuple(slice(start, start + length) for start, length in places)
    node = builder.call(operator.getitem, builder.keras_order(value), key, name=call.name)
    return _moved(value, node, call)


@rule(CORE + "ConvertToTensor")
def convert_to_tensor(builder, operation, inputs, call):
    """A tensor already, in Keras's dtype for it or in another."""
    value = builder.padded(_only(call))
    if operation.sparse or operation.ragged:
        raise LoweringError("sparse or ragged")
    if value.mask is not None:
        raise LoweringError("of a tensor with a mask, which the same tensor keeps")
    if operation.dtype is None:
        return value.with_node(value.node)
    return builder.to(value, keras.backend.standardize_dtype(operation.dtype))
