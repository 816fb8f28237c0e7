"""Keras's own layers, operations and functions as nodes of the lowered graph."""

from keras_dawn.foundation import keras_layers, keras_masks, keras_operations
from keras_dawn.native.lowering.dtypes import is_float
from keras_dawn.native.lowering.keras_callables import KerasCall, OperationCall, Slot, title
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.masks import may_mask
from keras_dawn.native.lowering.reads import Recorded
from keras_dawn.native.lowering.values import Value

import keras
import torch
from keras import layers

WRITABLE = (type(None), type(...), bool, int, float, str, torch.fx.Node, torch.dtype)


def why_as_it_is(operation, reads):
    """Why only Keras's own call of a layer or operation does what it does, or `None`.

    Args:
        operation: Keras layer or operation.
        reads: `Reads`, which notes what this depends on; `None` if it is asked at every call.
    """
    if not isinstance(operation, keras.Layer):
        return None
    if reads is not None:
        reads.note_call(operation)
    if not keras_layers.is_plain_call(operation):
        return "a torch hook, a `call` of its own, or rematerialisation"
    replaced = keras_layers.replaced_method(operation)
    if replaced is not None:
        return f"a `{replaced}` of its own"
    if operation.activity_regularizer is not None:
        return "an activity regularizer"
    recorded = operation if reads is None else Recorded(operation, reads)
    if getattr(recorded, "lora_enabled", False) or recorded.quantization_mode is not None:
        return "LoRA or quantisation"
    kind = keras_layers.acts_as(operation)
    rules_cast = kind in _CAST_NOTHING or not kind.__module__.startswith("keras.")
    if not (recorded.autocast or rules_cast) and recorded.compute_dtype != recorded.variable_dtype:
        return "weights in another dtype than it computes in, and autocast=False"
    return None


_CAST_NOTHING = (
    layers.Embedding, layers.ReversibleEmbedding, layers.LayerNormalization,
    layers.GroupNormalization,
)  # fmt: skip


def call_as_it_is(builder, node, args, kwargs, training):
    """A call of the Keras layer or operation itself, on tensors in Keras's order.

    Returns:
        list of `Value`, one for each output.
    """
    operation = node.operation
    if isinstance(operation, keras.Layer) and keras_layers.takes(operation, "training"):
        kwargs = {**kwargs, "training": training}
    call = call_keras(builder, operation, args, kwargs)
    if len(node.outputs) == 1:
        nodes, call.target.alone = [call], True
    else:
        nodes = [builder.call(getitem, call, index) for index in range(len(node.outputs))]
    dtypes = _computed_dtypes(node, args, kwargs)
    if dtypes is not None:
        pairs = zip(nodes, node.outputs, dtypes, strict=True)
        return [Value(item, len(tensor.shape), dtype) for item, tensor, dtype in pairs]
    whole = _whole_numbers(node, args, kwargs)
    values = [
        Value(item, len(tensor.shape), whole or tensor.dtype, guessed=True)
        for item, tensor in zip(nodes, node.outputs, strict=True)
    ]
    if may_mask(operation, (args, kwargs)):
        for part in keras.tree.flatten((args, kwargs)):
            if isinstance(part, Value) and part.mask is not None:
                # Attention takes it off, inside other layers too.
                left = builder.call(keras_masks.mask_of, builder.masks.handed[part.node])
                builder.masks.change(part.node, left)
        for value in values:
            builder.masks.set(value, builder.call(keras_masks.mask_of, value.node))
    return values


def _computed_dtypes(node, args, kwargs):
    """The dtypes of what an operation of `keras.ops` computes, or `None` if that is not sure.

    What it says beforehand may be wrong, so it is computed without numbers.
    """
    if not keras_operations.computes_in_torch(node.operation):
        return None
    parts = keras.tree.flatten((node.arguments.args, node.arguments.kwargs))
    values = keras.tree.flatten((args, kwargs))
    if len(parts) != len(values):
        return None
    for part, value in zip(parts, values, strict=True):
        symbolic = isinstance(part, keras.KerasTensor)
        if symbolic and (value.guessed or value.dtype != part.dtype):
            return None
    return keras_operations.dtypes_computed(node.operation, node.arguments)


def _whole_numbers(node, args, kwargs):
    """The dtype of the inputs, if there are only whole numbers where Keras expects floats.

    A layer's `KerasTensor` is of floats, but many layers return whole numbers as they got them;
    so do operations that come after. `None` otherwise.
    """
    dtypes = [v.dtype for v in keras.tree.flatten((args, kwargs)) if isinstance(v, Value)]
    weights = [v.dtype for v in getattr(node.operation, "variables", ())]
    if any(map(is_float, dtypes + weights)):
        return None
    expected = [tensor.dtype for tensor in node.input_tensors]
    unsure = isinstance(node.operation, keras.Layer) or any(map(is_float, expected))
    return dtypes[0] if dtypes and unsure else None


def call_keras(builder, operation, args, kwargs=None):
    """The node of a call of a Keras layer, operation or function, on tensors in Keras's order.

    Args:
        builder: `GraphBuilder`.
        operation: what is called.
        args, kwargs: what it is called with, `Value`s in place of tensors.
    """

    def argument(value):
        if not isinstance(value, Value):
            return value
        node = builder.keras_order(value)
        if value.mask is not None or value.unmasked:
            node = builder.call(keras_masks.with_mask, node, value.mask)
            builder.masks.handed[value.node] = node
        return node

    args, kwargs = keras.tree.map_structure(argument, (args, kwargs or {}))
    variables = operation.variables if isinstance(operation, keras.Layer) else ()
    attributes = [builder.share(variable, AS_IS) for variable in variables]
    name = title(operation)
    if all(_writable(part) for part in (*args, kwargs)):
        call = _keras_call(builder, operation, attributes, None)
        return builder.call(call, *args, name=name, **kwargs)
    nodes = []

    def slot(value):
        if not isinstance(value, torch.fx.Node):
            return value
        nodes.append(value)
        return Slot(len(nodes) - 1)

    arguments = keras.tree.map_structure(slot, (args, kwargs))
    call = _keras_call(builder, operation, attributes, arguments)
    return builder.call(call, *nodes, name=name)


def _keras_call(builder, operation, attributes, arguments):
    kind = OperationCall if keras_operations.computes_in_torch(operation) else KerasCall
    call = kind(operation, attributes, arguments, builder.training, builder.autocast)
    if isinstance(operation, keras.Layer):
        builder.last_call = call
    return call


def getitem(outputs, index):
    """The `index`-th of several outputs, flat."""
    return keras.tree.flatten(outputs)[index]


def _writable(argument):
    """Whether generated code can say an argument."""
    if type(argument) in (tuple, list):
        return all(_writable(part) for part in argument)
    if type(argument) is dict:
        return all(type(key) is str and _writable(part) for key, part in argument.items())
    if type(argument) is slice:
        return all(_writable(part) for part in (argument.start, argument.stop, argument.step))
    return type(argument) in WRITABLE or isinstance(argument, torch.fx.Node)
