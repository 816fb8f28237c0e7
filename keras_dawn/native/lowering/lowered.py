"""A lowered model: the graph that a walk has built, as a module, and what is known of it."""

import functools
from dataclasses import dataclass, field

from keras_dawn.foundation.keras_variables import dtype_inside
from keras_dawn.native.lowering.draws import draws_from_torch, has_effects
from keras_dawn.native.lowering.gated_convolutions import gate_convolutions
from keras_dawn.native.lowering.graph import GraphBuilder
from keras_dawn.native.lowering.handed_over import copy_what_may_change
from keras_dawn.native.lowering.in_place import relu_in_place
from keras_dawn.native.lowering.joined_convolutions import join_convolutions
from keras_dawn.native.lowering.keras_callables import KerasCall, OperationCall
from keras_dawn.native.lowering.masks import MaskCall
from keras_dawn.native.lowering.module import lowered_module
from keras_dawn.native.lowering.own_calls import why_not_combined
from keras_dawn.native.lowering.reads import Reads, unrecorded
from keras_dawn.native.lowering.relu_after_pooling import relu_after_pooling
from keras_dawn.native.lowering.sizes import run_with_sizes
from keras_dawn.native.lowering.time_first import look_up_time_first
from keras_dawn.native.lowering.values import AveragedTwiceError, TwoLayoutsError
from keras_dawn.native.lowering.walk import lower_function, lower_inside

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
        native: list of layers written in torch.
        output_structure: what `model(x)` returns, with numbers of the flat outputs.
        input_dtypes: dtypes that the inputs are cast to.
        functional: the `Functional` whose graph was walked.
        inputs: list of `KerasTensor`, the shapes that it is for; with open sizes.
        any_sizes: bool, whether Keras's own call takes inputs of other sizes than those.
        masked: bool, whether the module also returns the outputs' masks.
        unmasked: numbers of the tensors whose mask a lowered layer takes off.
        calls_keras: bool, whether Python of Keras's or the user's runs inside it.
        calls_operations: bool, whether functions of `keras.ops` do, which compute in torch but
            may take numbers from the host.
        reads: `Reads`, what the lowering depends on.
        changes_state: bool, whether the module changes more than it returns when it runs: how
            often a generator was asked, or a weight.
        changed: list of the Keras variables among these.
        draws: bool, whether it draws from torch's own generators.
        losses: list of the layers whose Python adds to the loss, one for each loss; the module then
            returns `(all else, losses)`.
        last_shape: that of the last batch of one input, which fitted.
    """

    module: torch.fx.GraphModule
    leaves: dict
    statistics: list
    fallbacks: list
    native: list
    output_structure: object
    input_dtypes: list
    functional: object
    inputs: list = field(default_factory=list)
    any_sizes: bool = False
    masked: bool = False
    unmasked: list = field(default_factory=list)
    calls_keras: bool = False
    calls_operations: bool = False
    reads: Reads = field(default_factory=Reads)
    changes_state: bool = False
    changed: list = field(default_factory=list)
    draws: bool = False
    losses: list = field(default_factory=list)
    last_shape: object = None

    def wants_sizes(self):
        """Whether what keeps it from being whole may be written in torch for known sizes.

        That is so where each layer that is called as it is only combines others.
        """
        layers = [unrecorded(layer) for layer, _ in self.fallbacks]
        return bool(layers) and all(why_not_combined(layer) is None for layer in layers)

    def is_pure(self):
        """Whether it computes its outputs by torch's operations and does no more."""
        return not (self.calls_keras or self.calls_operations or self.changes_state)


def builder_of(layer, training, collect_statistics):
    """A function from the variables that are views to a `GraphBuilder` for a layer or model."""
    return functools.partial(
        GraphBuilder,
        training,
        collect_statistics,
        layer.name,
        layer.variables,
        dtype_inside(layer, None),
    )


def lowered_graph(walk, make_builder, views, masks):
    """Builds the graph; again, with views, where a variable is wanted in two layouts."""
    as_it_is = set()
    wanted = None if views is None else {id(variable) for variable in views}
    while True:  # each try but the last adds a variable or a layer to these, so it ends
        builder = make_builder(views=wanted)
        builder.as_it_is = as_it_is
        builder.lower_inside = functools.partial(lower_inside, builder)
        builder.lower_function = functools.partial(lower_function, builder)
        builder.run_with_sizes = functools.partial(run_with_sizes, builder)
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
    if builder.losses:
        result = result, tuple(node for _, node in builder.losses)
    builder.graph.output(result)
    # After all nodes are there: whether a tensor is read again is known only then.
    builder.graph.eliminate_dead_code(has_effects)  # what nobody reads is not to be joined
    join_convolutions(builder.graph, builder.root)
    gate_convolutions(builder.graph, builder.root)
    look_up_time_first(builder.graph)
    relu_after_pooling(builder.graph)
    relu_in_place(builder.graph)
    if builder.training:
        copy_what_may_change(builder.graph)
    builder.graph.eliminate_dead_code(has_effects)
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
        changed=builder.changed,
        draws=any(map(draws_from_torch, builder.graph.nodes)),
        losses=[unrecorded(layer) for layer, _ in builder.losses or ()],
    )


def _calls(builder, *kinds):
    """Whether the graph calls functions of these classes."""
    return any(type(node.target) in kinds for node in builder.graph.nodes)
