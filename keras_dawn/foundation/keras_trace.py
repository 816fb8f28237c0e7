"""What a layer's own `call` does with symbolic tensors, call by call."""

import contextlib
import functools
from dataclasses import dataclass, field

from keras_dawn.foundation import keras_context, keras_layers, keras_masks
from keras_dawn.foundation.keras_draws import draws_noted
from keras_dawn.foundation.keras_equalities import equalities_noted
from keras_dawn.foundation.keras_inner_calls import constant, noted
from keras_dawn.foundation.keras_operators import operators_checked
from keras_dawn.foundation.keras_own_masks import masks_before, own_masks
from keras_dawn.foundation.keras_results import results_computed
from keras_dawn.foundation.keras_symbols import (
    TraceError,
    lists_frozen,
    losses_noted,
    tensors_as_symbols,
)
from keras_dawn.foundation.keras_torch_calls import torch_calls_noted
from keras_dawn.foundation.silence import silenced

import keras
import torch
from keras.src.backend.common import global_state
from keras.src.ops import node as node_module


@dataclass
class Trace:
    """The calls that a layer's `call` makes.

    Args:
        constants: list of `(KerasTensor, tensor or Keras variable)`: attributes of the layer, and
            what it made itself and called a layer with.
        nodes: list of Keras's nodes, in an order in which they can run.
        outputs: what `call` returned, `KerasTensor`s in it.
        losses: list of `KerasTensor`s that the layer itself added to the loss.
        masks: list of the outputs' masks that its own `compute_mask` returned, or `None`.
    """

    constants: list
    nodes: list
    outputs: object
    losses: list = field(default_factory=list)
    masks: list | None = None


# Runs whenever a call is noted, with the call's arguments.
NODE_CODE = node_module.Node.__init__.__code__


def trace(layer, arguments, training, watch, in_scope=False, reached=()):
    """Runs a built layer's `call` on symbolic tensors and notes which calls it makes.

    Nothing is left of it at the layers: neither nodes nor outputs.

    Args:
        layer: built Keras layer whose `call` has no effects, and those inside it neither.
        arguments: dict of what it is called with by name, `KerasTensor`s in place of tensors.
        training: bool, the mode, or `None` where nobody is told one.
        watch: has `run(function, arguments)`, which calls the layer's `call`, `check()`,
            which stops the layers inside it once that has been stopped, and `note(tensors)`, after
            which these must not change.
        in_scope: bool, whether the layer is sure to be called where an autocast scope is open.
        reached: list of layers further inside that its `call` may call by itself.

    Raises:
        TraceError: the result is not made of calls alone.
    """
    called, constants = [], []
    handed = keras.tree.map_structure(lambda part: part, arguments)
    if keras_layers.takes(layer, "training"):
        handed["training"] = training
    layers = keras_layers.all_layers(layer)
    inputs = [x for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor)]
    with keras_context.apart(layer, training), _leaving_nothing(layers[1:]):
        with (
            noted(layer, reached, called, constants, watch),
            draws_noted(inputs, called),
            torch_calls_noted(),
            results_computed(),
            equalities_noted(),
            operators_checked(),
            tensors_as_symbols(layer, constants, in_scope),
            lists_frozen(layers),
            losses_noted(layer) as losses,
        ):
            masked = masks_before(arguments)
            outputs = watch.run(layer.call, handed)
            as_symbol = functools.partial(constant, constants=constants, watch=watch)
            outputs = keras.tree.map_structure(as_symbol, outputs)
            masks = own_masks(layer, arguments, masked, outputs, watch)
        told = keras_context.current_call_context().get_value("training")
        if told is not training and (told or training is not None):
            # What one layer is told holds for all that are called after it, untold.
            raise TraceError("it tells a layer another mode than its own")
        if not _same_structure(arguments, handed):
            raise TraceError("it changes the list or dict that it is called with")
        # What its Python reads are masks of tensors as much as these.
        given = *inputs, *masked.values(), *(symbol for symbol, _ in constants)
        known = {id(tensor) for tensor in given}
        if any(id(loss) in known for loss in losses):
            raise TraceError("it adds a loss that it does not compute")  # a variable is refused
        nodes = _nodes_before([outputs, losses], known, called)
        if masks is not None:
            before = set(map(id, nodes))
            wanted = [mask for mask in masks if mask is not None]
            nodes += [node for node in _ordered(wanted, known) if id(node) not in before]
    parts = keras.tree.flatten([(n.arguments.args, n.arguments.kwargs) for n in nodes])
    if any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts):
        raise TraceError("it computes with weights of other layers")
    return Trace(constants, nodes, outputs, losses, masks)


def trace_function(function, tensor, watch):
    """The `Trace` of a function of one tensor; see `trace`.

    Args:
        function: of the user's, which has no effects.
        tensor: `KerasTensor`.
        watch: as for `trace`.
    """
    drawn = []
    with _leaving_nothing(()):
        with (
            draws_noted([tensor], drawn),
            torch_calls_noted(),
            results_computed(),
            equalities_noted(),
            operators_checked(),
        ):
            outputs = watch.run(lambda: function(tensor), {})
        return Trace([], _nodes_before(outputs, {id(tensor)}, drawn), outputs)


@contextlib.contextmanager
def _leaving_nothing(layers):
    """Calls that are noted leave no nodes at layers, take no names and no random numbers.

    They warn of nothing.
    """
    lengths = [(each, len(each._inbound_nodes), len(each._outbound_nodes)) for each in layers]
    # Operations that are made here take none of the names that the user's next ones get.
    names = global_state.get_global_attribute("object_name_uids")
    names_before = None if names is None else dict(names)
    try:
        # Shape inference draws where it has to compute with numbers.
        devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
        with torch.random.fork_rng(devices), silenced():  # they come when it computes
            yield
    finally:
        for each, inbound, outbound in lengths:
            del each._inbound_nodes[inbound:]
            del each._outbound_nodes[outbound:]
        if names_before is not None:
            names.clear()
            names.update(names_before)


def _same_structure(arguments, handed):
    """Whether the structures that a `call` was handed still hold what they did."""
    for name, part in arguments.items():
        if not keras.tree.is_nested(part):
            continue
        ours, theirs = keras.tree.flatten(part), keras.tree.flatten(handed[name])
        if len(ours) != len(theirs) or any(x is not y for x, y in zip(ours, theirs, strict=True)):
            return False
    return True


def _nodes_before(outputs, known, called):
    """The nodes that outputs are made by, from the tensors whose ids are known.

    Layers and draws come in the order in which they were called, as chance falls in it.

    Args:
        outputs: structure of `KerasTensor`s and `None`.
        known: set of ids of tensors.
        called: list of a `KerasTensor` for each call of a layer and each draw.
    """
    wanted = []
    for output in keras.tree.flatten(outputs):
        if output is None:
            continue
        if not isinstance(output, keras.KerasTensor):
            raise TraceError(f"it returns {type(output).__name__}")
        wanted.append(output)
        mask = keras_masks.mask_of(output)
        if mask is not None and set_by_hand(output):
            wanted.append(mask)
    used = set(map(id, _ordered(wanted, known)))
    if any(id(_node_of(tensor)) not in used for tensor in called):
        raise TraceError("it calls a layer, or draws, and does not use the result")
    return _ordered([*called, *wanted], known)


def _ordered(tensors, known):
    """The nodes that tensors are made by, those of each after those of the ones before it."""
    nodes, seen = [], set()

    def visit(tensor):
        if id(tensor) in known:
            return
        node = _node_of(tensor)
        if node is None:
            raise TraceError("its result does not come from its inputs")
        if id(node) in seen:
            return
        seen.add(id(node))
        for before in node.input_tensors:
            visit(before)
        nodes.append(node)

    for tensor in tensors:
        visit(tensor)
    return nodes


def _node_of(tensor):
    """The node that made a symbolic tensor, or `None`."""
    history = getattr(tensor, "_keras_history", None)
    if history is None or history.operation is None:
        return None
    return history.operation._inbound_nodes[history.node_index]


def set_by_hand(tensor):
    """Whether a mask on a symbolic tensor is none that a layer gave it."""
    history = getattr(tensor, "_keras_history", None)
    made_by = None if history is None else history.operation
    return made_by is not None and not isinstance(made_by, keras.Layer)


def settings_of(operation):
    """What an operation of `keras.ops` was made with, by name."""
    private = ("name", "_")
    return {key: part for key, part in vars(operation).items() if not key.startswith(private)}
