"""The walk over a Keras model's graph of layers: each call by its rule, or as it is."""

from keras_dawn.foundation import keras_layers, keras_models, keras_operations, keras_version
from keras_dawn.native.lowering.apply_rule import (
    apply_rule,
    supported_masks,
    why_not_simple,
    with_masks,
)
from keras_dawn.native.lowering.input_sizes import (
    checked_arguments,
    checked_inputs,
    fits_graph,
    knows_more,
)
from keras_dawn.native.lowering.keras_calls import call_as_it_is, why_as_it_is
from keras_dawn.native.lowering.masks import mask_after
from keras_dawn.native.lowering.nested_models import given_to, inside_model
from keras_dawn.native.lowering.nodes import Node, first_by_position
from keras_dawn.native.lowering.own_calls import OwnCalls, calls_of_function
from keras_dawn.native.lowering.reads import unrecorded
from keras_dawn.native.lowering.rules import (
    Call,
    every_rule,  # noqa: F401  (registers them)
    find_rule,
    says_masks,
    takes_arguments,
)
from keras_dawn.native.lowering.values import (
    AveragedTwiceError,
    LoweringError,
    TwoLayoutsError,
)

import keras


def run(builder, functional, inputs, training):
    """Lowers every call of a `Functional`; returns the values of its outputs, flat."""
    values = dict(zip(map(id, functional.inputs), inputs, strict=True))
    run_nodes(builder, keras_models.nodes(functional), values, training)
    return [values[id(tensor)] for tensor in functional.outputs]


def run_nodes(builder, nodes, values, training):
    """Lowers calls one after the other; their values are put in a dict by their tensors' ids."""
    for node in nodes:
        # A layer may have other nodes, of graphs that it was called in before.
        if any(id(tensor) not in values for tensor in node.input_tensors):
            continue
        args, kwargs = arguments_of(builder, node, values)
        results = lower_call(builder, node, args, kwargs, training)
        values.update(zip(map(id, node.outputs), results, strict=True))


_TRAINS = "in training, with those after it, where nobody is told the mode"


def arguments_of(builder, node, values):
    """What a node is called with, values in place of its tensors, without `training`."""
    args, kwargs = node.arguments.fill_in(values)
    # Keras (3.15) lets the mode of the outermost call win over the one that a layer
    # was called with when the graph was made, so that is what happens here. From 3.16 on
    # that one wins, and is what the layers after it are told: they are left to Keras.
    if kwargs.get("training") is not None and keras_version.VERSION >= (3, 16):
        raise LoweringError(f"{node.operation.name} was called with a mode of its own")
    if builder.untold and kwargs.get("training"):  # which counts where no other wins
        raise LoweringError(f"{node.operation.name}: {_TRAINS}")
    return args, {name: value for name, value in kwargs.items() if name != "training"}


def lower_call(builder, node, args, kwargs, training):
    """Lowers one call: a nested model's graph, the operation's rule, or Keras's own call.

    Args:
        builder: `GraphBuilder`.
        node: Keras's node of the call, or a `Node`.
        args, kwargs: what is called with, `Value`s in place of tensors; without `training`.
        training: bool.

    Returns:
        list of `Value`, one for each output.
    """
    return lower_with_sizes(builder, node, args, kwargs, training)[0]


def lower_with_sizes(builder, node, args, kwargs, training):
    """What `lower_call` returns, and `KerasTensor`s with the outputs' sizes.

    Those of Keras's layers and operations are the node's own; `None` in place of all of them where
    it is called as it is.
    """
    operation = node.operation
    check_mode(builder, operation)
    if builder.last_call is not None and isinstance(operation, keras.Layer):
        builder.last_call.followed = True
    args, kwargs = keras.tree.map_structure(builder.value, (args, kwargs))
    node, args, kwargs = first_by_position(node, args, kwargs)
    if isinstance(operation, keras.Model):
        # Its layers in place of the call: one graph, whose parts need not be called.
        with inside_model(builder, operation, args, kwargs) as (inner, values):
            if values is not None:
                given = given_to(inner, node)
                values = checked_inputs(builder, operation, inner, values, given)
                if fits_graph(given, inner) and not knows_more(given, inner):
                    return run(builder, inner, values, training), inner.outputs
                return builder.run_with_sizes(inner, values, given, training)
    reason = why_as_it_is(operation, None if builder.for_one_layer else builder.reads)
    if reason is None:  # else Keras's own call looks at them
        args, kwargs = checked_arguments(builder, node, args, kwargs)
    call = Call(
        name=operation.name,
        training=training,
        args=args,
        kwargs=kwargs,
        output=node.outputs[0],
        shapes=[tensor.shape for tensor in node.input_tensors],
    )
    apply = find_rule(operation)
    if reason is None and apply is None:
        values, outputs, reason = _lower_own(builder, node, args, kwargs, training)
        if reason is None:
            builder.native.append(operation)
            return values, outputs
    if reason is None and id(operation) in builder.as_it_is:
        reason = "it is called as it is at another place"
    if reason is None and not takes_arguments(apply):
        reason = why_not_simple(node, args, kwargs)
    if reason is None:
        values, reason = apply_rule(builder, node, apply, call)
    if reason is not None:
        _check_averages(builder, operation)
        if keras_operations.computes_in_torch(operation):
            builder.native.append(operation)
        else:
            builder.fallbacks.append((operation, reason))
        return call_as_it_is(builder, node, args, kwargs, training), None
    builder.native.append(operation)
    if isinstance(operation, keras.Layer) and not says_masks(apply):
        masks = mask_after(builder, node, args, kwargs)
        return with_masks(builder, values, masks), node.outputs
    return supported_masks(builder, operation, values), node.outputs


def check_mode(builder, operation):
    """Raises `LoweringError` where nobody is told the mode, and a layer takes training for it."""
    if builder.untold and keras_layers.trains_untold(operation):
        raise LoweringError(f"{operation.name}: {_TRAINS}")


def _lower_own(builder, node, args, kwargs, training):
    """The values and outputs of a layer of the user's by its Python, and why there are none."""
    if not isinstance(node.operation, keras.Layer):
        return None, None, "no rule"
    before, alone = builder.mark(), builder.for_one_layer
    try:
        values, outputs = lower_own(builder, node, args, kwargs, training)
        outputs = [tensor for tensor in keras.tree.flatten(outputs) if tensor is not None]
        axes = [len(tensor.shape) for tensor in outputs]
        if axes != [len(tensor.shape) for tensor in node.outputs]:
            raise LoweringError("no rule, and its Python returns other axes")
        return values, outputs, None
    except TwoLayoutsError:
        raise
    except LoweringError as error:
        builder.undo(before)
        kind = keras_layers.class_of(node.operation)
        # Of a layer of Keras's it does not matter what its Python does.
        of_keras = kind.__module__.startswith("keras.src.") and not issubclass(kind, keras.Model)
        return None, None, "no rule" if of_keras else str(error)
    finally:
        builder.for_one_layer = alone


def lower_own(builder, node, args, kwargs, training):
    """`(values, outputs)` of a layer of the user's by the layers that its Python calls.

    Args:
        builder, node, args, kwargs, training: as for `lower_call`.

    Returns:
        list of `Value`, and what `call` returns, `KerasTensor`s in place of tensors.

    Raises:
        LoweringError: it may do more, or something else at another step.
    """
    if id(node.operation) in builder.as_it_is:
        raise LoweringError("it is called as it is at another place")
    in_scope = bool(builder.autocast) and not builder.for_one_layer
    builder.for_one_layer = False  # the layers inside are not looked at in every call
    mode = None if builder.untold else training
    found = OwnCalls(builder, node, args, kwargs, mode, in_scope)
    for inner in found.nodes:
        if inner.arguments.kwargs.get("training") not in (None, training):
            raise LoweringError("no rule, and a call in a mode of its own inside it")
    run_nodes(builder, found.nodes, found.values, training)
    found.check_masks()
    for loss in found.losses:
        builder.losses.append((node.operation, builder.keras_order(found.values[id(loss)])))
    return found.results(builder), found.outputs


def lower_function(builder, function, value, shape, training):
    """The `Value` of a function of the user's of one tensor, for rules; `LoweringError` if none."""
    value = value.with_node(builder.keras_order(value), torch_order=False)
    nodes, values, output = calls_of_function(builder, function, value, shape)
    run_nodes(builder, nodes, values, training)
    return values[id(output)]


def lower_inside(builder, layer, shape, value, training):
    """The outputs of a layer that another one calls, for the other's rule: list of `Value`."""
    symbolic = keras.KerasTensor(shape, value.dtype)
    outputs = keras.tree.flatten(layer.compute_output_spec(symbolic))
    node = Node(layer, (symbolic,), tuple(outputs))
    return lower_call(builder, node, (value,), {}, training)


def _check_averages(builder, operation):
    """Raises `AveragedTwiceError` if a layer that is called as it is has been lowered before."""
    if not builder.statistics or not isinstance(operation, keras.Layer):
        return
    called = set(map(id, keras_layers.all_layers(operation)))
    for layer, _, _ in builder.statistics:
        if id(unrecorded(layer)) in called:
            raise AveragedTwiceError(unrecorded(layer))
