"""From a Keras model's graph of layers to a `torch.fx.GraphModule`."""

import inspect
import operator
from dataclasses import dataclass

from keras_dawn.native import keras_internals
from keras_dawn.native.lowering.graph import GraphBuilder, LoweringError, Value, reason_of
from keras_dawn.native.lowering.keras_calls import call_keras, getitem, why_as_it_is
from keras_dawn.native.lowering.module import lowered_module
from keras_dawn.native.lowering.rules import (  # noqa: F401  (each registers its rules)
    Call,
    activations,
    convolutions,
    find_rule,
    merging,
    normalizations,
    operators,
    own_layers,
    pooling,
    randomness,
    shapes,
)

import keras
import torch


@dataclass
class Lowered:
    """A lowered model.

    Args:
        module: `torch.fx.GraphModule`; called with the input tensors, flat.
        leaves: dict from the id of a Keras variable to its `Leaf`.
        statistics: list of normalisation layers, in the order of the batch statistics that
            the module returns besides the outputs when they are collected.
        fallbacks: list of `(layer, reason)`: called as they are.
        native: list of layers said in torch.
        output_structure: what `model(x)` returns, with numbers of the flat outputs.
        input_dtypes: dtypes that the inputs are cast to.
        functional: the `Functional` whose graph was walked.
    """

    module: torch.fx.GraphModule
    leaves: dict
    statistics: list
    fallbacks: list
    native: list
    output_structure: object
    input_dtypes: list
    functional: object


def to_torch(model, training=False):
    """A Keras model as straight PyTorch that shares its weights.

    The module computes what `model(x, training=training)` computes, on the Keras
    variables' own memory: what one changes, the other sees. Its parameters have torch's
    shapes (a convolution's `(out, in, height, width)`, in `channels_last` memory format).
    `module.code` is the model as a PyTorch function. For a layer without a rule the
    Keras layer itself is called.

    Args:
        model: a built Functional, Sequential or traceable subclassed `keras.Model`.
        training: bool, which mode the code is for. In training, moving averages follow
            torch's definition (the unbiased variance), unlike under `accelerate`.

    Returns:
        `torch.fx.GraphModule` from input tensors in Keras's shapes to outputs in Keras's.

    Raises:
        LoweringError: a model that is no graph of layers; the message says why.

    Example:
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "relu")])
        >>> module = keras_dawn.to_torch(model)
        >>> x = torch.ones(3, 4)
        >>> bool((module(x) == model(x)).all())
        True
    """
    lowered = lower(model, training)
    return lowered.module


def lower(model, training, collect_statistics=False):
    """Lowers a model and says how; see `to_torch`."""
    functional = _functional(model)
    mixed = model.compute_dtype != model.variable_dtype
    builder = GraphBuilder(
        training,
        collect_statistics,
        model.name,
        variables=model.variables,
        autocast=model.compute_dtype if mixed else None,
    )
    inputs = []
    for number, tensor in enumerate(functional.inputs):
        name = "x" if len(functional.inputs) == 1 else f"x{number}"
        node = builder.graph.placeholder(name)
        inputs.append(Value(node, len(tensor.shape), tensor.dtype))
    outputs = _run(builder, functional, inputs, training)
    flat = [builder.keras_order(value) for value in outputs]
    result = flat[0] if len(flat) == 1 else tuple(flat)
    if collect_statistics:
        result = (result, tuple((mean, deviation) for _, mean, deviation in builder.statistics))
    builder.graph.output(result)
    _relu_in_place(builder.graph)
    builder.graph.eliminate_dead_code()
    builder.graph.lint()
    return Lowered(
        module=lowered_module(builder.root, builder.graph),
        leaves={key: leaf for key, (_, leaf) in builder.leaves.items()},
        statistics=[layer for layer, _, _ in builder.statistics],
        fallbacks=builder.fallbacks,
        native=builder.native,
        output_structure=_output_structure(functional, len(flat)),
        input_dtypes=[getattr(torch, tensor.dtype) for tensor in functional.inputs],
        functional=functional,
    )


def _output_structure(functional, count):
    """The structure of `model(x)`; a list of one tensor is handed out as the tensor."""
    structure = keras.tree.pack_sequence_as(
        keras_internals.output_structure(functional), list(range(count))
    )
    single = isinstance(structure, (list, tuple)) and len(structure) == 1
    return structure[0] if single else structure


def _functional(model):
    if not isinstance(model, keras.Model):
        raise LoweringError(f"Expected a keras.Model, got {type(model).__name__}.")
    functional = keras_internals.functional_graph(model)
    if functional is None and isinstance(model, keras.Sequential):
        raise LoweringError(f"{model.name} is not built: give it an Input, or call it once.")
    if functional is None:
        functional = keras_internals.trace(model)
    if functional is None:
        raise LoweringError(
            f"{model.name} is a subclassed model of which no graph could be made: build it by "
            "calling it on one tensor, or write it with the functional API."
        )
    for layer in functional.layers:
        if getattr(layer, "mask_zero", False) or isinstance(layer, keras.layers.Masking):
            raise LoweringError(
                f"{layer.name} makes a mask, which only Keras's own calls carry on."
            )
    return functional


def _run(builder, functional, inputs, training):
    """Lowers every call of a `Functional`; returns the values of its outputs, flat."""
    values = dict(zip(map(id, functional.inputs), inputs, strict=True))
    for node in keras_internals.nodes(functional):
        if any(id(tensor) not in values for tensor in node.input_tensors):
            continue
        args, kwargs = node.arguments.fill_in(values)
        # Keras (3.15) lets the mode of the outermost call win over the one that a layer
        # was called with when the graph was made, so that is what happens here.
        kwargs = {name: value for name, value in kwargs.items() if name != "training"}
        results = _lower_call(builder, node, args, kwargs, training)
        values.update(zip(map(id, node.outputs), results, strict=True))
    return [values[id(tensor)] for tensor in functional.outputs]


def _lower_call(builder, node, args, kwargs, training):
    operation = node.operation
    args, kwargs = keras.tree.map_structure(builder.value, (args, kwargs))
    inner = keras_internals.functional_graph(operation) if _is_model(operation) else None
    inputs = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, Value)]
    if inner is not None:
        return _run(builder, inner, inputs, training)
    call = Call(
        name=operation.name,
        training=training,
        args=args,
        kwargs=kwargs,
        output=node.outputs[0],
        shapes=[tensor.shape for tensor in node.input_tensors],
    )
    reason = why_as_it_is(operation)
    if reason is None and any(value is not None for value in kwargs.values()):
        reason = f"called with {', '.join(kwargs)}"
    tensors = all(isinstance(part, Value) for part in keras.tree.flatten(args))
    if reason is None and isinstance(operation, keras.Layer) and not tensors:
        reason = "called with what is no tensor"
    if reason is None:
        value, reason = _apply_rule(builder, operation, inputs, call)
    if reason is None:
        builder.native.append(operation)
        return [value]
    builder.fallbacks.append((operation, reason))
    return _call_as_it_is(builder, node, args, kwargs, training)


def _apply_rule(builder, operation, inputs, call):
    """What the operation's rule returns, and why that is nothing: `(Value, reason)`."""
    rule = find_rule(operation)
    if rule is None:
        return None, "no rule"
    before = builder.mark()
    try:
        value = rule(builder, operation, _cast_inputs(builder, operation, inputs), call)
        if not isinstance(value, Value) or not isinstance(value.node, torch.fx.Node):
            raise LoweringError(f"its rule returns {type(value).__name__}")
    except Exception as error:  # of a rule, which may be the user's: this layer's alone
        builder.undo(before)
        return None, reason_of(error)
    return value, None


def _cast_inputs(builder, operation, inputs):
    if not isinstance(operation, keras.Layer) or not getattr(operation, "autocast", True):
        return inputs
    return [builder.cast(value, operation.compute_dtype) for value in inputs]


def _call_as_it_is(builder, node, args, kwargs, training):
    """A call of the Keras layer or operation itself, on tensors in Keras's order."""
    operation = node.operation
    if isinstance(operation, keras.Layer) and _takes_training(operation):
        kwargs = {**kwargs, "training": training}
    call = call_keras(builder, operation, args, kwargs)
    if len(node.outputs) == 1:
        nodes = [call]
    else:
        nodes = [builder.call(getitem, call, index) for index in range(len(node.outputs))]
    return [
        Value(item, len(tensor.shape), tensor.dtype, guessed=True)
        for item, tensor in zip(nodes, node.outputs, strict=True)
    ]


def _is_model(operation):
    return isinstance(operation, keras.Model)


def _takes_training(layer):
    return "training" in inspect.signature(layer.call).parameters


def _relu_in_place(graph):
    """Lets a ReLU overwrite its input where nobody else needs it.

    Convolutions, batch normalisation and sums do not read their own output in the
    backward pass, so the output may be overwritten.
    """
    for node in graph.nodes:
        if node.op != "call_function" or node.target is not torch.relu:
            continue
        source = node.args[0]
        overwritable = source.op == "call_function" and (
            source.target in (torch.conv2d, torch.batch_norm, torch.add)
            or _is_batch_norm_output(source)
        )
        if overwritable and len(source.users) == 1:
            node.target = torch.relu_


def _is_batch_norm_output(node):
    return (
        node.target is operator.getitem
        and node.args[1] == 0
        and node.args[0].target is torch.native_batch_norm
    )
