"""What a layer's own `call` does with symbolic tensors, call by call."""

import contextlib
import warnings
from dataclasses import dataclass

from keras_dawn.foundation import keras_context, keras_layers

import keras
import torch
from keras.src.backend.common import global_state


@dataclass
class Trace:
    """The calls that a layer's `call` makes.

    Args:
        inputs: list of `KerasTensor`.
        constants: list of `(KerasTensor, torch tensor)`: what it made itself, and called a
            layer with.
        nodes: list of Keras's nodes, in an order in which they can run.
        outputs: what `call` returned, `KerasTensor`s in it.
    """

    inputs: list
    constants: list
    nodes: list
    outputs: object


class TraceError(ValueError):
    """A `call` that is not told by its calls; the message says why."""


def trace(layer, inputs, training):
    """Runs a built layer's `call` on symbolic tensors and notes which calls it makes.

    Nothing is left of it at the layers: neither nodes nor outputs.

    Args:
        layer: built Keras layer whose `call` has no effects, and those inside it neither.
        inputs: list of `KerasTensor`, the positional arguments.
        training: bool, the mode, or `None` where nobody is told one.

    Raises:
        TraceError: the result is not made of calls alone.
    """
    inner = keras_layers.all_layers(layer)[1:]
    lengths = [(each, len(each._inbound_nodes), len(each._outbound_nodes)) for each in inner]
    # Operations that are made here take none of the names that the user's next ones get.
    names = global_state.get_global_attribute("object_name_uids")
    names_before = None if names is None else dict(names)
    called, constants = [], []
    arguments = {"training": training} if keras_layers.takes(layer, "training") else {}
    try:
        with (
            keras_context.apart(layer, training),
            _noted(layer, called, constants),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")  # they come when it computes
            outputs = layer.call(*inputs, **arguments)
        known = {id(tensor) for tensor in (*inputs, *(symbol for symbol, _ in constants))}
        nodes = _nodes_before(outputs, known)
    finally:
        for each, inbound, outbound in lengths:
            del each._inbound_nodes[inbound:]
            del each._outbound_nodes[outbound:]
        if names_before is not None:
            names.clear()
            names.update(names_before)
    parts = keras.tree.flatten([(n.arguments.args, n.arguments.kwargs) for n in nodes])
    if any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts):
        raise TraceError("it computes with weights of its own")
    if sum(isinstance(node.operation, keras.Layer) for node in nodes) != len(called):
        raise TraceError("it calls a layer whose result is not used")
    return Trace(list(inputs), constants, nodes, outputs)


@contextlib.contextmanager
def _noted(layer, called, constants):
    """The layers directly inside take tensors as symbolic ones, and their calls are counted."""
    swapped = []
    for each in {id(each): each for each in _callable_inside(layer)}.values():
        base = keras_layers.class_of(each)
        swapped.append((each, type(each)))  # inside a step another one than its own
        kind = keras_layers.class_with_call(base, _noting(base, called, constants))
        object.__setattr__(each, "__class__", kind)
    try:
        yield
    finally:
        for each, before in swapped:
            object.__setattr__(each, "__class__", before)


def _noting(base, called, constants):
    def symbol(part):
        if not isinstance(part, torch.Tensor):
            return part
        if part.requires_grad:
            raise TraceError("it computes with weights of its own")
        # A tensor that `call` made itself (positions, a mask of ones) enters the graph as a
        # constant.
        dtype = keras.backend.standardize_dtype(part.dtype)
        constants.append((keras.KerasTensor(tuple(part.shape), dtype), part))
        return constants[-1][0]

    def __call__(layer, *args, **kwargs):  # noqa: N807
        if keras_context.in_stateless_scope():  # Keras asks it for the shape of its output
            return base.__call__(layer, *args, **kwargs)
        if not layer.built:
            raise TraceError("a layer inside it is not built yet")
        # Counted by the layer's call, not by nodes: a result that nobody uses leaves no node.
        called.append(layer)
        args, kwargs = keras.tree.map_structure(symbol, (args, kwargs))
        return base.__call__(layer, *args, **kwargs)

    return __call__


def _callable_inside(layer):
    """The layers that a `call` can reach by the layer's attributes, lists of layers included."""
    return [each for each in keras_layers.inner_layers(layer) if isinstance(each, keras.Layer)]


def _nodes_before(outputs, known):
    """The nodes that outputs are made by, from the tensors whose ids are known."""
    nodes, seen = [], set()

    def visit(tensor):
        if id(tensor) in known:
            return
        history = getattr(tensor, "_keras_history", None)
        if history is None or history.operation is None:
            raise TraceError("its result does not come from its inputs")
        node = history.operation._inbound_nodes[history.node_index]
        if id(node) in seen:
            return
        seen.add(id(node))
        for before in node.input_tensors:
            visit(before)
        nodes.append(node)

    for output in keras.tree.flatten(outputs):
        if not isinstance(output, keras.KerasTensor):
            raise TraceError(f"it returns {type(output).__name__}")
        visit(output)
    return nodes


def settings_of(operation):
    """What an operation of `keras.ops` was made with, by name."""
    private = ("name", "_")
    return {key: part for key, part in vars(operation).items() if not key.startswith(private)}
