"""What a layer's own `call` does with symbolic tensors, call by call."""

import contextlib
import functools
import warnings
from dataclasses import dataclass

from keras_dawn.foundation import keras_context, keras_layers, keras_masks, keras_variables
from keras_dawn.foundation.frozen import frozen

import keras
import torch
from keras.src import backend
from keras.src.backend.common import global_state
from keras.src.ops import node as node_module

_OF_KERAS = frozenset(vars(keras.Layer(name="none")))  # what every layer has


@dataclass
class Trace:
    """The calls that a layer's `call` makes.

    Args:
        constants: list of `(KerasTensor, tensor or Keras variable)`: attributes of the layer, and
            what it made itself and called a layer with.
        nodes: list of Keras's nodes, in an order in which they can run.
        outputs: what `call` returned, `KerasTensor`s in it.
    """

    constants: list
    nodes: list
    outputs: object


class TraceError(ValueError):
    """A `call` that is not told by its calls; the message says why."""


# Runs whenever a call is noted, with the call's arguments.
NODE_CODE = node_module.Node.__init__.__code__


def trace(layer, arguments, training, watch):
    """Runs a built layer's `call` on symbolic tensors and notes which calls it makes.

    Nothing is left of it at the layers: neither nodes nor outputs.

    Args:
        layer: built Keras layer whose `call` has no effects, and those inside it neither.
        arguments: dict of what it is called with by name, `KerasTensor`s in place of tensors.
        training: bool, the mode, or `None` where nobody is told one.
        watch: has `run(function, arguments)`, which calls the layer's `call`, and `check()`, which
            stops the layers inside it once that has been stopped.

    Raises:
        TraceError: the result is not made of calls alone.
    """
    called, constants = [], []
    handed = keras.tree.map_structure(lambda part: part, arguments)
    if keras_layers.takes(layer, "training"):
        handed["training"] = training
    layers = keras_layers.all_layers(layer)
    with keras_context.apart(layer, training), _leaving_nothing(layers[1:]):
        with (
            _noted(layer, called, constants, watch),
            _tensors_as_symbols(layer, constants),
            _lists_frozen(layers),
        ):
            outputs = watch.run(layer.call, handed)
        if not _same_structure(arguments, handed):
            raise TraceError("it changes the list or dict that it is called with")
        inputs = [x for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor)]
        known = {id(tensor) for tensor in (*inputs, *(symbol for symbol, _ in constants))}
        nodes = _nodes_before(outputs, known)
    parts = keras.tree.flatten([(n.arguments.args, n.arguments.kwargs) for n in nodes])
    if any(isinstance(part, torch.Tensor) and part.requires_grad for part in parts):
        raise TraceError("it computes with weights of other layers")
    if sum(isinstance(node.operation, keras.Layer) for node in nodes) != len(called):
        raise TraceError("it calls a layer whose result is not used")
    return Trace(constants, nodes, outputs)


def trace_function(function, tensor, watch):
    """The `Trace` of a function of one tensor; see `trace`.

    Args:
        function: of the user's, which has no effects.
        tensor: `KerasTensor`.
        watch: as for `trace`.
    """
    with _leaving_nothing(()):
        outputs = watch.run(lambda: function(tensor), {})
        return Trace([], _nodes_before(outputs, {id(tensor)}), outputs)


@contextlib.contextmanager
def _leaving_nothing(layers):
    """Calls that are noted leave no nodes at layers, take no names, and warn of nothing."""
    lengths = [(each, len(each._inbound_nodes), len(each._outbound_nodes)) for each in layers]
    # Operations that are made here take none of the names that the user's next ones get.
    names = global_state.get_global_attribute("object_name_uids")
    names_before = None if names is None else dict(names)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come when it computes
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


@contextlib.contextmanager
def _tensors_as_symbols(layer, constants):
    """The layer's own variables and tensors are symbolic, so that what is made of them is noted."""
    own, swapped = vars(layer), {}
    try:
        for name, part in list(own.items()):
            if not keras_layers.is_of_weights(part):
                continue
            if isinstance(part, keras.Variable):
                dtype = _dtype_read(layer, part)
            else:
                dtype = keras.backend.standardize_dtype(part.dtype)
            known = (symbol for symbol, each in constants if each is part)
            symbol = next(known, None)
            if symbol is None:
                symbol = keras.KerasTensor(tuple(part.shape), dtype)
                constants.append((symbol, part))
            swapped[name], own[name] = part, symbol
        yield
    finally:
        own.update(swapped)


@contextlib.contextmanager
def _lists_frozen(layers):
    """The lists and dicts of layers of the user's cannot be changed."""
    swapped = []
    try:
        for layer in layers:
            if keras_layers.class_of(layer).__module__.startswith("keras.src."):
                continue
            for name, part in list(vars(layer).items()):
                if isinstance(part, (list, dict)) and name not in _OF_KERAS:
                    swapped.append((layer, name, part))
                    vars(layer)[name] = frozen(part)
        yield
    finally:
        for layer, name, part in swapped:
            vars(layer)[name] = part


def _dtype_read(layer, variable):
    """The dtype in which a layer's `call` sees one of its variables."""
    if not keras_variables.autocasts(variable) or not layer.autocast:
        if layer.compute_dtype != layer.variable_dtype:
            raise TraceError("it holds a weight that is not cast")
        return variable.dtype
    is_float = "float" in variable.dtype
    return layer.compute_dtype if is_float and "float" in layer.compute_dtype else variable.dtype


@contextlib.contextmanager
def _noted(layer, called, constants, watch):
    """The layers directly inside take tensors as symbolic ones, and their calls are counted."""
    swapped = []
    for each in {id(each): each for each in _callable_inside(layer)}.values():
        base = keras_layers.class_of(each)
        swapped.append((each, type(each)))  # inside a step another one than its own
        nones = []  # structures of outputs with `None` in them, which Keras's graphs cannot hold
        kind = keras_layers.class_with_call(base, _noting(base, called, constants, nones))
        if base.__module__.startswith("keras.src."):
            kind.compute_output_spec = _with_all_sizes(base)
        else:
            kind.compute_output_spec = _by_its_call(base, watch, nones)
        object.__setattr__(each, "__class__", kind)
    try:
        yield
    finally:
        for each, before in swapped:
            object.__setattr__(each, "__class__", before)


def _noting(base, called, constants, nones):
    def symbol(part):
        if not isinstance(part, torch.Tensor):
            return part
        if part.requires_grad:
            raise TraceError("it computes with weights of other layers")
        dtype = keras.backend.standardize_dtype(part.dtype)
        constants.append((keras.KerasTensor(tuple(part.shape), dtype), part))
        return constants[-1][0]

    def __call__(layer, *args, **kwargs):  # noqa: N807
        if keras_context.in_stateless_scope():  # Keras asks it for the shape of its output
            return base.__call__(layer, *args, **kwargs)
        if not layer.built:
            raise TraceError("a layer inside it is not built yet")
        called.append(layer)
        args, kwargs = keras.tree.map_structure(symbol, (args, kwargs))
        outputs = base.__call__(layer, *args, **kwargs)
        if not nones:
            return outputs
        tensors = iter(outputs)
        return keras.tree.map_structure(
            lambda is_tensor: next(tensors) if is_tensor else None, nones.pop()
        )

    return __call__


def _with_all_sizes(base):
    """What a layer of Keras's returns; sizes that it leaves open without need are found."""

    def compute_output_spec(layer, *args, **kwargs):
        outputs = base.compute_output_spec(layer, *args, **kwargs)
        if _is_open(outputs) and not _is_open((args, kwargs)):
            bound = functools.partial(base.call, layer)
            return backend.compute_output_spec(bound, *args, **kwargs)
        return outputs

    return compute_output_spec


def _is_open(structure):
    parts = keras.tree.flatten(structure)
    return any(isinstance(x, keras.KerasTensor) and None in x.shape for x in parts)


def _by_its_call(base, watch, nones):
    """What a layer of the user's returns, by its Python: shapes that it says itself may differ."""

    def call(layer, *args, **kwargs):
        watch.check()
        return base.call(layer, *args, **kwargs)

    def compute_output_spec(layer, *args, **kwargs):
        bound = functools.partial(call, layer)
        outputs = backend.compute_output_spec(bound, *args, **kwargs)
        flat = keras.tree.flatten(outputs)
        if all(isinstance(x, keras.KerasTensor) for x in flat):
            return outputs
        if any(x is not None and not isinstance(x, keras.KerasTensor) for x in flat):
            raise TraceError("a layer inside it returns what is no tensor")
        nones.append(keras.tree.map_structure(lambda x: x is not None, outputs))
        return [x for x in flat if x is not None]

    return compute_output_spec


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
        if output is None:
            continue
        if not isinstance(output, keras.KerasTensor):
            raise TraceError(f"it returns {type(output).__name__}")
        visit(output)
        mask = keras_masks.mask_of(output)
        if mask is not None and set_by_hand(output):
            visit(mask)
    return nodes


def set_by_hand(tensor):
    """Whether a mask on a symbolic tensor is none that a layer gave it."""
    history = getattr(tensor, "_keras_history", None)
    made_by = None if history is None else history.operation
    return made_by is not None and not isinstance(made_by, keras.Layer)


def settings_of(operation):
    """What an operation of `keras.ops` was made with, by name."""
    private = ("name", "_")
    return {key: part for key, part in vars(operation).items() if not key.startswith(private)}
