"""From a Keras model's graph of layers to a `torch.fx.GraphModule`."""

import copy
import functools
from dataclasses import dataclass, field

from keras_dawn.foundation import keras_internals
from keras_dawn.native.lowering.graph import (
    GraphBuilder,
    LoweringError,
    TwoLayoutsError,
    Value,
)
from keras_dawn.native.lowering.in_place import relu_in_place
from keras_dawn.native.lowering.keras_calls import call_as_it_is, why_as_it_is
from keras_dawn.native.lowering.masks import mask_after, why_mask_is_read
from keras_dawn.native.lowering.module import lowered_module
from keras_dawn.native.lowering.reads import Reads, Recorded, unrecorded
from keras_dawn.native.lowering.rules import (  # noqa: F401  (each registers its rules)
    Call,
    activations,
    augmentation,
    colors,
    convolutions,
    dense,
    encoding,
    find_rule,
    group_normalizations,
    merging,
    normalizations,
    operators,
    own_layers,
    pooling,
    randomness,
    resizing,
    shapes,
    spectral,
    spectrograms,
    wrappers,
)
from keras_dawn.native.lowering.values import reason_of

import keras
import torch


@dataclass
class Lowered:
    """A lowered model, or a part of one.

    Args:
        module: `torch.fx.GraphModule`; called with the input tensors, flat. Returns the outputs;
            with statistics `(outputs, statistics)`; with masks these are last.
        leaves: dict from the id of a Keras variable to its `Leaf`.
        statistics: list of normalisation layers, in the order of the batch statistics that
            the module returns besides the outputs when they are collected.
        fallbacks: list of `(layer, reason)`: called as they are.
        native: list of layers said in torch.
        output_structure: what `model(x)` returns, with numbers of the flat outputs.
        input_dtypes: dtypes that the inputs are cast to.
        functional: the `Functional` whose graph was walked.
        masked: bool, whether the module also returns the outputs' masks.
        calls_keras: bool, whether Python of Keras's or the user's runs inside it.
        reads: `Reads`, what the lowering depends on.
        changes_state: bool, whether the module changes more than it returns when it runs: how
            often a generator was asked, or a weight.
    """

    module: torch.fx.GraphModule
    leaves: dict
    statistics: list
    fallbacks: list
    native: list
    output_structure: object
    input_dtypes: list
    functional: object
    masked: bool = False
    calls_keras: bool = False
    reads: Reads = field(default_factory=Reads)
    changes_state: bool = False


def to_torch(model, training=False):
    """A Keras model as straight PyTorch that shares its weights.

    The module computes what `model(x, training=training)` computes, on the Keras
    variables' own memory: what one changes, the other sees. Its parameters have torch's
    shapes (a convolution's `(out, in, height, width)`, in `channels_last` memory format).
    `module.code` is the model as a PyTorch function. For a layer without a rule the
    Keras layer itself is called.

    Args:
        model: a built Functional or Sequential `keras.Model`.
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
    return lower(model, training, masks=False).module


def lower(model, training, collect_statistics=False, *, views=(), masks=True):
    """Lowers a model and says how; see `to_torch`.

    Args:
        model: built `keras.Model` that is a graph of layers.
        training: bool.
        collect_statistics: bool, whether the module returns batch statistics.
        views: variables to be parameters themselves, not in torch's layout; `None` for all.
        masks: bool, whether the module returns the outputs' masks where there may be any.
    """
    functional = _functional(model)

    def walk(builder):
        inputs = []
        for number, tensor in enumerate(functional.inputs):
            name = "x" if len(functional.inputs) == 1 else f"x{number}"
            node = builder.graph.placeholder(name)
            inputs.append(Value(node, len(tensor.shape), tensor.dtype))
        return _run(builder, functional, inputs, training)

    make = _builder_of(model, training, collect_statistics)
    lowered = _lowered(walk, make, views, masks)
    lowered.output_structure = _output_structure(functional, lowered.output_structure)
    lowered.input_dtypes = [getattr(torch, tensor.dtype) for tensor in functional.inputs]
    lowered.functional = functional
    return lowered


def lower_layer(layer, shape, dtype, training):
    """Lowers one built layer for input of a shape and dtype; its variables are the parameters.

    Raises:
        LoweringError: no rule, or none for these settings.
    """
    symbolic = keras.KerasTensor(shape, dtype)
    keras_internals.check_input(layer, symbolic)

    def walk(builder):
        builder.for_one_layer = True
        value = Value(builder.graph.placeholder("x"), len(shape), dtype)
        node = _Node(layer, (symbolic,), (layer.compute_output_spec(symbolic),))
        (output,) = _lower_call(builder, node, (value,), {}, training)
        if builder.fallbacks:
            raise LoweringError(builder.fallbacks[0][1])
        return [output]

    lowered = _lowered(walk, _builder_of(layer, training, training), None, masks=True)
    if lowered.masked:
        raise LoweringError("it makes a mask")
    return lowered


@dataclass(frozen=True)
class _Node:
    """One call of an operation, as Keras's graph has it."""

    operation: object
    input_tensors: tuple
    outputs: tuple


def _builder_of(layer, training, collect_statistics):
    """A function from the variables that are views to a `GraphBuilder` for a layer or model."""
    mixed = layer.compute_dtype != layer.variable_dtype
    return functools.partial(
        GraphBuilder,
        training,
        collect_statistics,
        layer.name,
        layer.variables,
        layer.compute_dtype if mixed else None,
    )


def _lowered(walk, make_builder, views, masks):
    """Builds the graph; again, with views, where a variable is wanted in two layouts."""
    wanted = None if views is None else {id(variable) for variable in views}
    while True:
        builder = make_builder(views=wanted)
        try:
            outputs = walk(builder)
            break
        except TwoLayoutsError as error:
            wanted.add(id(error.variable))
    for layer, _, _ in builder.statistics:
        builder.reads.note(unrecorded(layer), "momentum", layer.momentum)
    flat = [builder.keras_order(value) for value in outputs]
    result = flat[0] if len(flat) == 1 else tuple(flat)
    masked = masks and any(value.mask is not None for value in outputs)
    if builder.collect_statistics or masked:
        pairs = tuple((mean, deviation) for _, mean, deviation in builder.statistics)
        result = (result, pairs, tuple(v.mask for v in outputs)) if masked else (result, pairs)
    builder.graph.output(result)
    relu_in_place(builder.graph)
    builder.graph.eliminate_dead_code()
    builder.graph.lint()
    return Lowered(
        module=lowered_module(builder.root, builder.graph),
        leaves={key: leaf for key, (_, leaf) in builder.leaves.items()},
        statistics=[unrecorded(layer) for layer, _, _ in builder.statistics],
        fallbacks=builder.fallbacks,
        native=builder.native,
        output_structure=len(flat),
        input_dtypes=[],
        functional=None,
        masked=masked,
        calls_keras=bool(builder.fallbacks) or masked,
        reads=builder.reads,
        changes_state=builder.changes_state,
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
        raise LoweringError(
            f"{model.name} is a subclassed model: its `call` is Python, not a graph of layers. "
            "`accelerate` takes it as it is; for `to_torch` write it with the functional API."
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
    inputs = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, Value)]
    if isinstance(operation, keras.Model):
        inner = keras_internals.functional_graph(operation)
        if inner is not None and keras_internals.is_only_its_call(operation):
            builder.reads.note(operation, "_functional", getattr(operation, "_functional", None))
            values = _inner_inputs(builder, inner, args, kwargs)
            if values is not None:
                return _run(builder, inner, values, training)
    call = Call(
        name=operation.name,
        training=training,
        args=args,
        kwargs=kwargs,
        output=node.outputs[0],
        shapes=[tensor.shape for tensor in node.input_tensors],
    )
    reason = why_as_it_is(operation, None if builder.for_one_layer else builder.reads)
    if reason is None and any(value is not None for value in kwargs.values()):
        reason = f"called with {', '.join(kwargs)}"
    tensors = all(isinstance(part, Value) for part in keras.tree.flatten(args))
    if reason is None and isinstance(operation, keras.Layer) and not tensors:
        reason = "called with what is no tensor"
    if reason is None and any(value.mask is not None for value in inputs):
        reason = why_mask_is_read(operation)
    if reason is None and len(node.outputs) != 1:
        reason = "several outputs"
    if reason is None:
        value, reason = _apply_rule(builder, operation, inputs, call)
    if reason is not None:
        builder.fallbacks.append((operation, reason))
        return call_as_it_is(builder, node, args, kwargs, training)
    builder.native.append(operation)
    mask = None
    if isinstance(operation, keras.Layer):
        mask = mask_after(builder, node, args, kwargs)
        builder.mode_restated |= keras_internals.takes(operation, "training")
    if mask is not value.mask:
        value = copy.copy(value)  # a rule may hand on the input's own value
        value.mask = mask
    return [value]


def _apply_rule(builder, operation, inputs, call):
    """What the operation's rule returns, and why that is nothing: `(Value, reason)`."""
    rule = find_rule(operation)
    if rule is None:
        return None, "no rule"
    before = builder.mark()
    recorded = Recorded(operation, builder.reads)
    try:
        value = rule(builder, recorded, _cast_inputs(builder, recorded, inputs), call)
        if not isinstance(value, Value) or not isinstance(value.node, torch.fx.Node):
            raise LoweringError(f"its rule returns {type(value).__name__}")
        if value.rank != len(call.output.shape):
            raise LoweringError(f"its rule returns {value.rank} axes")
    except TwoLayoutsError:
        raise
    except Exception as error:  # of a rule, which may be the user's: this layer's alone
        builder.undo(before)
        return None, reason_of(error)
    return value, None


def _inner_inputs(builder, inner, args, kwargs):
    """The values that a nested model is called with, in the order of its inputs, or `None`."""
    structure, mask = args[0] if args else kwargs.get("inputs"), kwargs.get("mask")
    flat = keras_internals.match_inputs(inner, structure)
    ranks = [len(tensor.shape) for tensor in inner.inputs]
    if not all(isinstance(v, Value) for v in flat) or [v.rank for v in flat] != ranks:
        return None
    masks = [value.mask for value in flat]
    if mask is not None:
        masks = [one.node if isinstance(one, Value) else one for one in keras.tree.flatten(mask)]
    # As Keras converts them: whole numbers too, to what the nested model's input says.
    flat = [
        copy.copy(builder.to(value, tensor.dtype))
        for value, tensor in zip(flat, inner.inputs, strict=True)
    ]
    for value, one in zip(flat, masks, strict=True):
        value.mask = one
    return flat


def _cast_inputs(builder, operation, inputs):
    if not isinstance(operation, keras.Layer) or not keras_internals.casts_inputs(operation):
        return inputs
    cast = []
    for value in inputs:
        other = builder.cast(value, operation.compute_dtype)
        if other is not value:
            other.mask = value.mask
        cast.append(other)
    return cast
