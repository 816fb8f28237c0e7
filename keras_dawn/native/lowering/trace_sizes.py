"""Whether the calls of two traces, of the same Python for other sizes, are the same."""

from keras_dawn.foundation import keras_trace
from keras_dawn.foundation.keras_draws import Draw

import keras
import numpy as np
import torch


class SizesError(ValueError):
    """Calls that depend on sizes; the message says which."""


def compare(found, inputs, sized, sized_inputs):
    """Raises `SizesError` unless two traces make the same calls; repairs a reshape's open axis.

    Args:
        found, sized: `Trace`.
        inputs, sized_inputs: lists of the `KerasTensor`s that they were made with.
    """
    if len(found.nodes) != len(sized.nodes) or len(found.constants) != len(sized.constants):
        raise SizesError("other calls with other sizes")
    for (_, one), (_, other) in zip(found.constants, sized.constants, strict=True):
        if one is not other:
            _check_same("a constant", one, other)
    for one, other in zip(found.nodes, sized.nodes, strict=True):
        _same_operation(one.operation, other.operation, _batch_sizes(one, other))
    _check_same("an argument", _said(found, inputs), _said(sized, sized_inputs))


def _said(trace, inputs):
    """The arguments of all calls and the outputs, with numbers in place of symbolic tensors."""
    tensors = [*inputs, *(symbol for symbol, _ in trace.constants)]
    tensors += [tensor for node in trace.nodes for tensor in node.outputs]
    numbers = {id(tensor): f"tensor {number}" for number, tensor in enumerate(tensors)}
    parts = [(node.arguments.args, node.arguments.kwargs) for node in trace.nodes]
    return keras.tree.map_structure(
        lambda part: numbers.get(id(part), part), [parts, trace.outputs, trace.masks]
    )


def _batch_sizes(one, other):
    """The sizes in place of open first ones of a node's tensors."""
    pairs = zip(one.input_tensors, other.input_tensors, strict=False)
    return {sized.shape[0] for known, sized in pairs if known.shape[:1] == (None,)}


def _same_operation(one, other, batch_sizes):
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
    if isinstance(one, Draw) and _first(ours) == {None} and _first(theirs) == batch_sizes:
        theirs["shape"] = (None, *theirs["shape"][1:])
    _check_same(f"a setting of {type(one).__name__}", ours, theirs)


def _first(settings):
    """The first size of a draw's shape, as a set."""
    return set((settings["shape"] or ())[:1])


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
