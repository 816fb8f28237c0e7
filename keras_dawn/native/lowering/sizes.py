"""The walk over a graph of layers for one kind of batch, all of whose sizes are known."""

from keras_dawn.foundation import keras_context, keras_models
from keras_dawn.native.lowering.keras_calls import why_as_it_is
from keras_dawn.native.lowering.rules import find_rule
from keras_dawn.native.lowering.values import LoweringError
from keras_dawn.native.lowering.walk import (
    Arguments,
    Node,
    arguments_of,
    check_mode,
    inside_model,
    lower_call,
    lower_own,
)

import keras


def run_with_sizes(builder, functional, inputs, shapes, training):
    """Lowers every call of a `Functional`, whose layers are told the sizes of their inputs.

    Layers of the user's run symbolically, as far as nothing but calls can come of it.

    Args:
        builder: `GraphBuilder`.
        functional: Keras's `Functional`.
        inputs: list of `Value`, its inputs.
        shapes: list of tuples of int, theirs.
        training: bool.

    Returns:
        list of `Value`, the outputs.

    Raises:
        LoweringError: a layer can only be called as it is.
    """
    symbols = _symbols(functional, shapes)
    return [value for value, _ in _outputs(builder, functional, inputs, symbols, training)]


def _symbols(functional, shapes):
    """The inputs of a `Functional` with these sizes, in the dtypes that it casts them to."""
    return [
        keras.KerasTensor(shape, tensor.dtype)
        for shape, tensor in zip(shapes, functional.inputs, strict=True)
    ]


def _outputs(builder, functional, inputs, symbols, training):
    """`(Value, KerasTensor)` of each output."""
    values = dict(zip(map(id, functional.inputs), inputs, strict=True))
    sizes = dict(zip(values, symbols, strict=True))
    for node in keras_models.nodes(functional):
        if any(id(tensor) not in values for tensor in node.input_tensors):
            continue  # of another graph that the layer was called in
        called, symbolic = (arguments_of(builder, node, each) for each in (values, sizes))
        given = tuple(sizes[id(tensor)] for tensor in node.input_tensors)
        found = _call(builder, node, given, called, symbolic, training)
        for tensor, (value, symbol) in zip(node.outputs, found, strict=True):
            values[id(tensor)], sizes[id(tensor)] = value, symbol
    return [(values[id(tensor)], sizes[id(tensor)]) for tensor in functional.outputs]


def _call(builder, node, given, called, symbolic, training):
    """`(Value, KerasTensor)` of each output of a call.

    Args:
        builder: `GraphBuilder`.
        node: Keras's node.
        given: tuple of `KerasTensor`s with sizes in place of its own.
        called, symbolic: args and kwargs, `Value`s and `KerasTensor`s in place of its tensors.
        training: bool.
    """
    operation = node.operation
    called = keras.tree.map_structure(builder.value, called)
    if isinstance(operation, keras.Model):
        with inside_model(builder, operation, *called) as (inner, values):
            if values is not None:
                args, kwargs = symbolic
                structure = args[0] if args else kwargs.get("inputs")
                given = keras_models.match_inputs(inner, structure)
                symbols = _symbols(inner, [tensor.shape for tensor in given])
                return _outputs(builder, inner, values, symbols, training)
    if isinstance(operation, keras.Layer) and find_rule(operation) is None:
        check_mode(builder, operation)
        reason = why_as_it_is(operation, builder.reads)
        if reason is not None:
            raise LoweringError(reason)
        own = Node(operation, given, tuple(node.outputs))
        results, outputs = lower_own(builder, own, *called, training)
        builder.native.append(operation)
        found = [tensor for tensor in keras.tree.flatten(outputs) if tensor is not None]
    else:
        outputs = _output_spec(operation, *symbolic)
        found = keras.tree.flatten(outputs)
        known = Node(operation, given, tuple(found), Arguments(*symbolic))
        results = lower_call(builder, known, *called, training)
    if builder.fallbacks:
        raise LoweringError(builder.fallbacks[-1][1])
    if [len(tensor.shape) for tensor in found] != [len(tensor.shape) for tensor in node.outputs]:
        raise LoweringError(f"{operation.name} returns other axes than in the graph")
    return zip(results, found, strict=True)


def _output_spec(operation, args, kwargs):
    if not isinstance(operation, keras.Layer):
        return operation.compute_output_spec(*args, **kwargs)
    with keras_context.apart(operation, None):
        return operation.compute_output_spec(*args, **kwargs)
