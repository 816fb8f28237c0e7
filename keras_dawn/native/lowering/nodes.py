"""Calls of a graph as the walk takes them."""

from dataclasses import dataclass

from keras_dawn.native.lowering.values import Value

import keras


@dataclass(frozen=True)
class Arguments:
    """What an operation is called with, `KerasTensor`s in place of tensors."""

    args: tuple
    kwargs: dict


@dataclass(frozen=True)
class Node:
    """One call of an operation, as Keras's graph has it; a layer's needs no arguments."""

    operation: object
    input_tensors: tuple
    outputs: tuple
    arguments: Arguments | None = None


def first_by_position(node, args, kwargs):
    """A call with its first argument by position, and its node with the tensors in that order.

    Keras's nodes have tensors that are given by name in the order of the names.

    Args:
        node: the call's node of Keras's graph.
        args, kwargs: what it is called with, `Value`s in place of tensors.

    Returns:
        `(node, args, kwargs)`.
    """
    operation, arguments = node.operation, node.arguments
    named = _by_position(operation, args, kwargs)
    if len(named[0]) == len(args):
        return node, args, kwargs
    values, ordered = (
        [part for part in keras.tree.flatten(each) if isinstance(part, Value)]
        for each in ((args, kwargs), named)
    )
    if len(values) == len(node.input_tensors):
        tensor_of = dict(zip(map(id, values), node.input_tensors, strict=True))
        if arguments is not None:
            arguments = Arguments(*_by_position(operation, arguments.args, arguments.kwargs))
        tensors = tuple(tensor_of[id(value)] for value in ordered)
        node = Node(operation, tensors, node.outputs, arguments)
    return node, *named


def _by_position(operation, args, kwargs):
    """A call's arguments, the first of a layer's `call` by position where it was given by name."""
    if args or not kwargs or not isinstance(operation, keras.Layer):
        return args, kwargs
    first, *_ = operation.call_signature_parameters
    if first not in kwargs:
        return args, kwargs
    return (kwargs[first],), {name: part for name, part in kwargs.items() if name != first}
