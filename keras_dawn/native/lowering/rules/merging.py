"""Layers that join several tensors."""

import functools
import operator

from keras_dawn.native.lowering.dtypes import is_float, promoted, result_type
from keras_dawn.native.lowering.rules import rule
from keras_dawn.native.lowering.rules.masked_merging import (
    largest_of_unmasked,
    product_of_unmasked,
    smallest_of_unmasked,
)
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.unit_vectors import of_length_one

import torch
from keras import layers


def same_order(builder, values):
    """Nodes of several values in one order of axes, and whether that is torch's.

    Tensors of fewer axes get axes of size 1 in front where torch's order demands them, as
    broadcasting would give them.
    """
    rank = max(value.rank for value in values)
    if not any(value.torch_order and value.rank == rank for value in values):
        return [builder.keras_order(value) for value in values], False

    def node(value):
        if value.rank == rank:
            return builder.image(value, "channels_last")
        if value.rank == 0:
            return value.node
        node = builder.keras_order(value)
        spread = builder.call(operator.getitem, node, (None,) * (rank - value.rank))
        return builder.graph.call_method("permute", (spread, 0, rank - 1, *range(1, rank - 1)))

    return [node(value) for value in values], True


def _of_one_rank(builder, values):
    """The values with axes of size 1 after the batch's, as Keras's merging layers add them."""
    rank = max(value.rank for value in values)
    if all(value.rank == rank for value in values):
        return values

    def spread(value):
        node = builder.keras_order(value)
        for _ in range(rank - value.rank):
            node = builder.call(torch.unsqueeze, node, 1)
        return value.with_node(node, rank=rank, torch_order=False)

    return [spread(value) for value in values]


def _fold(builder, inputs, call, function, cast=None):
    """The inputs joined two by two; `cast` says what each pair is cast to before."""
    if cast is not None:
        _check_known(inputs)
    values = _of_one_rank(builder, inputs)
    nodes, torch_order = same_order(builder, values)
    values = [
        value.with_node(node, torch_order=torch_order)
        for value, node in zip(values, nodes, strict=True)
    ]

    def join(pair_and_last, one, other):
        if cast is not None:
            dtype = cast(one.dtype, other.dtype)
            one, other = builder.to(one, dtype), builder.to(other, dtype)
        node = builder.call(function, one.node, other.node, name=pair_and_last)
        return _joined(one, other, node)

    result = values[0]
    for number, value in enumerate(values[1:], 2):
        result = join(call.name if number == len(values) else None, result, value)
    return result


def _of_unmasked(builder, inputs, call, of_unmasked, function, cast=None):
    """`_fold` by `function`, or `of_unmasked` where some of the inputs are masked."""
    if any(value.mask is not None for value in inputs):
        return _masked(builder, inputs, call, of_unmasked)
    return _fold(builder, inputs, call, function, cast)


def _masked(builder, inputs, call, function):
    """A function of all inputs and their masks, in Keras's order of axes."""
    _check_known(inputs)
    if any(value.dtype == "bool" for value in inputs):
        raise LoweringError("masked inputs of bool")
    values = _of_one_rank(builder, inputs)
    rank = values[0].rank
    # As in Keras, a tensor that gets more axes loses its mask.
    masks = [value.mask if value.rank == rank else None for value in inputs]
    dtype = functools.reduce(result_type, (value.dtype for value in values))
    nodes = [builder.keras_order(builder.to(value, dtype)) for value in values]
    node = builder.call(function, nodes, masks, name=call.name)
    return values[0].with_node(node, dtype=dtype, torch_order=False)


def _check_known(inputs):
    if any(value.guessed for value in inputs):
        raise LoweringError("an input whose dtype is known at run time only")


def _joined(one, other, node):
    joined = one.with_node(node, dtype=promoted(one, other))
    joined.guessed = one.guessed or other.guessed
    return joined


@rule(layers.Add)
def add(builder, layer, inputs, call):
    return _fold(builder, inputs, call, torch.add)


@rule(layers.Subtract)
def subtract(builder, layer, inputs, call):
    if any(value.dtype == "bool" for value in inputs):
        raise LoweringError("of bool")
    return _fold(builder, inputs, call, torch.sub)


@rule(layers.Multiply)
def multiply(builder, layer, inputs, call):
    return _of_unmasked(builder, inputs, call, product_of_unmasked, torch.mul)


@rule(layers.Average)
def average(builder, layer, inputs, call):
    value = _fold(builder, inputs, call, torch.add)
    if not is_float(value.dtype):
        raise LoweringError(f"of {value.dtype}")
    return value.with_node(builder.call(torch.div, value.node, len(inputs)))


@rule(layers.Maximum)
def maximum(builder, layer, inputs, call):
    return _of_unmasked(builder, inputs, call, largest_of_unmasked, torch.maximum, cast=result_type)


@rule(layers.Minimum)
def minimum(builder, layer, inputs, call):
    return _of_unmasked(
        builder, inputs, call, smallest_of_unmasked, torch.minimum, cast=result_type
    )


@rule(layers.Concatenate)
def concatenate(builder, layer, inputs, call):
    if len({value.rank for value in inputs}) > 1:
        raise LoweringError("inputs of different ranks")
    nodes, torch_order = same_order(builder, inputs)
    rank = inputs[0].rank
    axis = layer.axis if layer.axis >= 0 else layer.axis + rank
    if torch_order:  # where Keras's axis lies in (batch, channels, …)
        # For instance Keras's (batch, height, width, channels): axis 3 is torch's 1.
        axis = (0, *range(2, rank), 1)[axis]
    node = builder.call(torch.cat, nodes, axis, name=call.name)
    joined = functools.reduce(lambda a, b: _joined(a, b, node), inputs)
    return joined.with_node(node, torch_order=torch_order)


@rule(layers.Dot)
def dot(builder, layer, inputs, call):
    _check_known(inputs)
    dtypes = {value.dtype for value in inputs}
    if len(dtypes) > 1 or not is_float(inputs[0].dtype):
        raise LoweringError(f"of {' and '.join(sorted(dtypes))}")
    axes = layer.axes if isinstance(layer.axes, (list, tuple)) else (layer.axes,) * 2
    axes = tuple(axis % value.rank for axis, value in zip(axes, inputs, strict=True))
    nodes = [builder.keras_order(value) for value in inputs]
    node = builder.call(dot_of_batches, *nodes, axes, bool(layer.normalize), name=call.name)
    rank = max(2, sum(value.rank for value in inputs) - 3)
    return inputs[0].with_node(node, rank=rank, torch_order=False)


def dot_of_batches(one, other, axes, normalize):
    """The dot products of two batches, example by example.

    Args:
        one, other: tensors of one dtype and of as many examples.
        axes: an axis of each to sum over.
        normalize: bool, whether the vectors along them are made of length 1 before.

    Returns:
        tensor `(batch, *axes of one, *axes of the other)`, `(batch, 1)` if none are left.
    """
    if normalize:
        one, other = (of_length_one(x, axis) for x, axis in zip((one, other), axes, strict=True))
    one = one.movedim(axes[0], -1)
    other = other.movedim(axes[1], 1)
    # All other axes in one, so that one product of matrices does it.
    left = one.flatten(1, -2) if one.ndim > 2 else one.unsqueeze(1)
    right = other.flatten(2) if other.ndim > 2 else other.unsqueeze(2)
    sizes = *one.shape[1:-1], *other.shape[2:]
    return torch.matmul(left, right).reshape(len(one), *(sizes or (1,)))
