"""From a Keras model's graph of layers to a `torch.fx.GraphModule`."""

import copy
import dataclasses
import functools
from dataclasses import dataclass, field

from keras_dawn.foundation import keras_layers, keras_masks, keras_models, keras_version
from keras_dawn.native.lowering.arguments import call_arguments, cast
from keras_dawn.native.lowering.graph import (
    GraphBuilder,
    LoweringError,
    TwoLayoutsError,
    Value,
)
from keras_dawn.native.lowering.in_place import relu_in_place
from keras_dawn.native.lowering.keras_calls import (
    KerasCall,
    OperationCall,
    call_as_it_is,
    why_as_it_is,
)
from keras_dawn.native.lowering.masks import MaskCall, dropping_masks, mask_after, why_mask_is_read
from keras_dawn.native.lowering.module import lowered_module
from keras_dawn.native.lowering.reads import Reads, Recorded, unrecorded
from keras_dawn.native.lowering.rules import (  # noqa: F401  (each registers its rules)
    Call,
    activations,
    attention,
    augmentation,
    bidirectional,
    colors,
    conv_lstm,
    convolutions,
    dense,
    embeddings,
    encoding,
    find_rule,
    group_normalizations,
    merging,
    normalizations,
    operations,
    operators,
    own_layers,
    pooling,
    projections,
    randomness,
    rearranging,
    recurrent,
    resizing,
    says_masks,
    shapes,
    spectral,
    spectrograms,
    takes_arguments,
    time_distributed,
    wrappers,
)
from keras_dawn.native.lowering.values import AveragedTwiceError, reason_of

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
        unmasked: numbers of the tensors whose mask a lowered layer takes off.
        calls_keras: bool, whether Python of Keras's or the user's runs inside it.
        calls_operations: bool, whether functions of `keras.ops` do, which compute in torch but
            may take numbers from the host.
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
    unmasked: list = field(default_factory=list)
    calls_keras: bool = False
    calls_operations: bool = False
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


def lower_layer(layer, args, kwargs, training):
    """Lowers one built layer for one kind of call; its variables are the parameters.

    The module takes the call's tensors in their order, each followed by its mask if it has one.

    Args:
        layer: built Keras layer.
        args, kwargs: what it is called with, `KerasTensor`s in place of tensors, their masks
            attached; without `training`.
        training: bool.

    Raises:
        LoweringError: no rule, or none for these settings.
    """
    first = keras.tree.flatten((args, kwargs))[0]
    keras_layers.check_input(layer, args[0] if args else first)
    outputs = layer.compute_output_spec(*args, **kwargs)
    inputs = []

    def walk(builder):
        builder.for_one_layer = True
        inputs.clear()

        def placeholder(part):
            if not isinstance(part, keras.KerasTensor):
                return part
            name = f"x{len(inputs)}" if len(inputs) else "x"
            value = Value(builder.graph.placeholder(name), len(part.shape), part.dtype)
            inputs.append(value)
            if keras_masks.mask_of(part) is not None:
                builder.set_mask(value, builder.graph.placeholder(f"{name}_mask"))
            return value

        values = keras.tree.map_structure(placeholder, (args, kwargs))
        symbols = tuple(
            part
            for part in keras.tree.flatten((args, kwargs))
            if isinstance(part, keras.KerasTensor)
        )
        node = _Node(layer, symbols, tuple(keras.tree.flatten(outputs)))
        results = _lower_call(builder, node, *values, training)
        if builder.fallbacks:
            raise LoweringError(builder.fallbacks[0][1])
        return results

    lowered = _lowered(walk, _builder_of(layer, training, training), None, masks=True)
    flat = list(range(len(keras.tree.flatten(outputs))))
    lowered.output_structure = keras.tree.pack_sequence_as(outputs, flat)
    lowered.unmasked = [number for number, value in enumerate(inputs) if value.unmasked]
    return lowered


def _lower_inside(builder, layer, shape, value, training):
    """The outputs of a layer that another one calls, for the other's rule: list of `Value`."""
    symbolic = keras.KerasTensor(shape, value.dtype)
    outputs = keras.tree.flatten(layer.compute_output_spec(symbolic))
    node = _Node(layer, (symbolic,), tuple(outputs))
    return _lower_call(builder, node, (value,), {}, training)


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
    as_it_is = set()
    wanted = None if views is None else {id(variable) for variable in views}
    while True:
        builder = make_builder(views=wanted)
        builder.as_it_is = as_it_is
        builder.lower_inside = functools.partial(_lower_inside, builder)
        try:
            outputs = walk(builder)
            break
        except TwoLayoutsError as error:
            wanted.add(id(error.variable))
        except AveragedTwiceError as error:
            as_it_is.add(id(error.layer))
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
        calls_keras=_calls(builder, KerasCall, MaskCall) or (masked and not builder.for_one_layer),
        calls_operations=_calls(builder, OperationCall),
        reads=builder.reads,
        changes_state=builder.changes_state,
    )


def _calls(builder, *kinds):
    """Whether the graph calls functions of these classes."""
    return any(type(node.target) in kinds for node in builder.graph.nodes)


def _output_structure(functional, count):
    """The structure of `model(x)`; a list of one tensor is handed out as the tensor."""
    structure = keras.tree.pack_sequence_as(
        keras_models.output_structure(functional), list(range(count))
    )
    single = isinstance(structure, (list, tuple)) and len(structure) == 1
    return structure[0] if single else structure


def _functional(model):
    if not isinstance(model, keras.Model):
        raise LoweringError(f"Expected a keras.Model, got {type(model).__name__}.")
    functional = keras_models.functional_graph(model)
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
    for node in keras_models.nodes(functional):
        if any(id(tensor) not in values for tensor in node.input_tensors):
            continue
        args, kwargs = node.arguments.fill_in(values)
        # Keras (3.15) lets the mode of the outermost call win over the one that a layer
        # was called with when the graph was made, so that is what happens here. From 3.16 on
        # that one wins, and is what the layers after it are told: they are left to Keras.
        if kwargs.get("training") is not None and keras_version.VERSION >= (3, 16):
            raise LoweringError(f"{node.operation.name} was called with a mode of its own")
        kwargs = {name: value for name, value in kwargs.items() if name != "training"}
        results = _lower_call(builder, node, args, kwargs, training)
        values.update(zip(map(id, node.outputs), results, strict=True))
    return [values[id(tensor)] for tensor in functional.outputs]


def _lower_call(builder, node, args, kwargs, training):
    operation = node.operation
    if builder.last_call is not None and isinstance(operation, keras.Layer):
        builder.last_call.followed = True
    args, kwargs = keras.tree.map_structure(builder.value, (args, kwargs))
    if isinstance(operation, keras.Model):
        inner = keras_models.functional_graph(operation)
        inputs = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, Value)]
        masks = [value.mask for value in inputs] + keras.tree.flatten(kwargs.get("mask"))
        warns = any(mask is not None for mask in masks) and not operation.supports_masking
        if inner is not None and keras_layers.is_only_its_call(operation) and not warns:
            keras_models.note_graph(operation, builder.reads)
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
    apply = find_rule(operation)
    if reason is None and apply is None:
        reason = "no rule"
    if reason is None and id(operation) in builder.as_it_is:
        reason = "it is called as it is at another place"
    if reason is None and not takes_arguments(apply):
        reason = _why_not_simple(node, args, kwargs)
    if reason is None:
        values, reason = _apply_rule(builder, node, apply, call)
    if reason is not None:
        _check_averages(builder, operation)
        if keras_layers.computes_in_torch(operation):
            builder.native.append(operation)
        else:
            builder.fallbacks.append((operation, reason))
        return call_as_it_is(builder, node, args, kwargs, training)
    builder.native.append(operation)
    if isinstance(operation, keras.Layer) and not says_masks(apply):
        return _with_masks(builder, values, mask_after(builder, node, args, kwargs))
    if keras_version.VERSION >= (3, 16) and not getattr(operation, "supports_masking", True):
        for value in values:  # recurrent layers of that version drop masks
            value.mask = None
    return values


def _check_averages(builder, operation):
    """Raises `AveragedTwiceError` if a layer that is called as it is has been lowered before."""
    if not builder.statistics or not isinstance(operation, keras.Layer):
        return
    called = set(map(id, keras_layers.all_layers(operation)))
    for layer, _, _ in builder.statistics:
        if id(unrecorded(layer)) in called:
            raise AveragedTwiceError(unrecorded(layer))


def _why_not_simple(node, args, kwargs):
    """Why a call is none of tensors alone, for a rule of such, or `None`."""
    operation = node.operation
    inputs = [x for x in keras.tree.flatten((args, kwargs)) if isinstance(x, Value)]
    if any(value is not None for value in kwargs.values()):
        return f"called with {', '.join(kwargs)}"
    tensors = all(isinstance(part, Value) for part in keras.tree.flatten(args))
    if isinstance(operation, keras.Layer) and not tensors:
        return "called with what is no tensor"
    if any(value.mask is not None for value in inputs):
        reason = why_mask_is_read(operation)
        if reason is not None:
            return reason
    return None if len(node.outputs) == 1 else "several outputs"


def _with_masks(builder, values, masks):
    """The outputs of a rule with the masks that its layer computes."""
    masks = [None] * len(values) if masks is None else keras.tree.flatten(masks)
    for number, (value, mask) in enumerate(zip(values, masks, strict=False)):
        if mask is not value.mask:
            values[number] = copy.copy(value)  # a rule may hand on the input's own value
            builder.set_mask(values[number], mask)
    return values


def _apply_rule(builder, node, apply, call):
    """What the operation's rule returns, and why that is nothing: `(list of Value, reason)`."""
    operation = node.operation
    before = builder.mark()
    recorded = Recorded(operation, builder.reads)
    try:
        if takes_arguments(apply):
            arguments = call_arguments(builder, operation, call.args, call.kwargs)
            call = dataclasses.replace(call, arguments=arguments)
            inputs = [x for x in keras.tree.flatten(arguments) if isinstance(x, Value)]
        else:
            inputs = keras.tree.flatten((call.args, call.kwargs))
            inputs = [x for x in inputs if isinstance(x, Value)]
            if isinstance(operation, keras.Layer) and keras_layers.converts_inputs(recorded):
                inputs = [cast(builder, recorded, value) for value in inputs]
            inputs = dropping_masks(builder, operation, inputs)
        values = apply(builder, recorded, inputs, call)
        values = values if isinstance(values, list) else [values]
        if len(values) != len(node.outputs):
            raise LoweringError(f"its rule returns {len(values)} outputs")
        for value, output in zip(values, node.outputs, strict=True):
            if not isinstance(value, Value) or not isinstance(value.node, torch.fx.Node):
                raise LoweringError(f"its rule returns {type(value).__name__}")
            if value.rank != len(output.shape):
                raise LoweringError(f"its rule returns {value.rank} axes")
    except TwoLayoutsError:
        raise
    except Exception as error:  # of a rule, which may be the user's: this layer's alone
        builder.undo(before)
        return None, reason_of(error)
    return values, None


def _inner_inputs(builder, inner, args, kwargs):
    """The values that a nested model is called with, in the order of its inputs, or `None`."""
    structure, mask = args[0] if args else kwargs.get("inputs"), kwargs.get("mask")
    flat = keras_models.match_inputs(inner, structure)
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
        builder.set_mask(value, one)
    return flat
