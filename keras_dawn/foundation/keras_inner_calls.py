"""The calls of the layers inside one whose `call` runs on symbolic tensors."""

import contextlib
import functools

from keras_dawn.foundation import keras_context, keras_layers, keras_own_masks
from keras_dawn.foundation.keras_symbols import TraceError
from keras_dawn.foundation.swapped_classes import class_with_call, put_class

import keras
import torch
from keras.src import backend
from keras.src.backend.common import dtypes
from keras.src.ops.symbolic_arguments import SymbolicArguments


@contextlib.contextmanager
def noted(layer, reached, called, constants, watch):
    """The layers directly inside take tensors as symbolic ones, and their calls are counted.

    So do the layers further inside that are `reached`.
    """
    swapped = []
    callable_inside = [*_callable_inside(layer), *reached]
    for each in {id(each): each for each in callable_inside}.values():
        base = keras_layers.class_of(each)
        swapped.append((each, type(each)))  # inside a step another one than its own
        twice = []  # layers that return a tensor twice
        nones = []  # structures of outputs with `None` in them, which Keras's graphs cannot hold
        if keras_layers.computes_as_keras_s(each):
            spec = _with_all_sizes(base)
        else:
            spec = _by_its_call(base, watch, nones, twice)
        call = _noting(base, called, constants, nones, twice, watch)
        put_class(each, class_with_call(base, call, compute_output_spec=spec))
    # Further inside too: Keras would build them in shape inference, where weights get no numbers.
    for each in keras_layers.all_layers(layer)[1:]:
        if isinstance(each, keras.Layer) and not each.built:
            swapped.append((each, type(each)))
            put_class(each, class_with_call(keras_layers.class_of(each), _refusing))
    try:
        yield
    finally:
        for each, before in reversed(swapped):
            put_class(each, before)


def constant(part, constants, watch):
    """A `KerasTensor` for a tensor that `call` made itself (positions, a mask of ones), noted.

    Anything else is returned as it is.
    """
    if not isinstance(part, torch.Tensor):
        return part
    if part.requires_grad:
        raise TraceError("it computes with weights of other layers")
    dtype = keras.backend.standardize_dtype(part.dtype)
    constants.append((keras.KerasTensor(tuple(part.shape), dtype), part))
    watch.note(part)
    return constants[-1][0]


def _noting(base, called, constants, nones, twice, watch):
    symbol = functools.partial(constant, constants=constants, watch=watch)

    def __call__(layer, *args, **kwargs):  # noqa: N807
        if keras_context.in_stateless_scope():  # Keras asks it for the shape of its output
            return base.__call__(layer, *args, **kwargs)
        args, kwargs = keras.tree.map_structure(symbol, (args, kwargs))
        if not keras_layers.computes_as_keras_s(layer):
            _refuse_dtypes((args, kwargs))
        before = len(layer._inbound_nodes)
        outputs = base.__call__(layer, *args, **kwargs)
        if twice:  # as symbols they are two, with a mask each
            raise TraceError("a layer inside it returns one tensor twice, which has one mask")
        keras_own_masks.change_as_call_does(layer, outputs, args, kwargs)
        for node in layer._inbound_nodes[before:]:
            _forget_masks_of_inputs(node, kwargs)
        # Counted by calls, not by nodes: a result that nobody uses is before no output.
        called.append(keras.tree.flatten(outputs)[0])
        if not nones:
            return outputs
        tensors = iter(outputs)
        return keras.tree.map_structure(
            lambda is_tensor: next(tensors) if is_tensor else None, nones.pop()
        )

    return __call__


def _refuse_dtypes(structure):
    """Raises `TraceError` for a dtype, which Python may compare: a real tensor's is torch's own."""
    for part in keras.tree.flatten(structure):
        if isinstance(part, str) and part in dtypes.ALLOWED_DTYPES:
            raise TraceError("it calls a layer with a dtype")


def _forget_masks_of_inputs(node, given):
    """Leaves of the masks that a layer was called with those that are given by name.

    Keras writes the others down, too: those that the inputs have. A tensor's may be another one
    than that of its symbol, which gets none of the layers inside the one that returned it.

    Args:
        node: Keras's node of the call.
        given: dict of the arguments by name.
    """
    arguments = node.arguments
    found = {
        name: part
        for name, part in arguments.kwargs.items()
        if not (name == "mask" or name.endswith("_mask")) or given.get(name) is not None
    }
    if len(found) < len(arguments.kwargs):
        node.arguments = SymbolicArguments(*arguments.args, **found)


def _refusing(layer, *args, **kwargs):
    raise TraceError("a layer inside it is not built yet")


def _with_all_sizes(base):
    """What a layer of Keras's returns; sizes that it leaves open without need are found."""

    def compute_output_spec(layer, *args, **kwargs):
        bound = functools.partial(base.call, layer)
        if issubclass(base, keras.Sequential):
            # A call takes any sizes; only the symbolic one insists on those it was built for.
            return backend.compute_output_spec(bound, *args, **kwargs)
        outputs = base.compute_output_spec(layer, *args, **kwargs)
        if _is_open(outputs) and not _is_open((args, kwargs)):
            return backend.compute_output_spec(bound, *args, **kwargs)
        return outputs

    return compute_output_spec


def _is_open(structure):
    parts = keras.tree.flatten(structure)
    return any(isinstance(x, keras.KerasTensor) and None in x.shape for x in parts)


def _by_its_call(base, watch, nones, twice):
    """What a layer of the user's returns, by its Python: shapes that it says itself may differ."""

    def call(layer, *args, **kwargs):
        watch.check()
        outputs = base.call(layer, *args, **kwargs)
        given = [id(x) for x in keras.tree.flatten(outputs) if x is not None]
        if layer.supports_masking and len(set(given)) < len(given):
            twice.append(layer)
        return outputs

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
