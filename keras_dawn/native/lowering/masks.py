"""Keras's masks in a lowered graph: who makes them, who passes them on."""

from keras_dawn.native import keras_internals
from keras_dawn.native.lowering.graph import Value, _safe
from keras_dawn.native.lowering.rules import class_of

import keras


def may_mask(operation, arguments):
    """Whether the outputs of a layer that is called as it is may have masks at run time."""
    if not isinstance(operation, keras.Layer):
        return False
    values = [v for v in keras.tree.flatten(arguments) if isinstance(v, Value)]
    return (
        any(value.mask is not None for value in values)
        or not keras_internals.only_passes_mask_on(operation)
        or bool(keras_internals.inner_layers(operation))
    )


def why_mask_is_read(operation):
    """Why a layer whose input has a mask has to be called as it is, or `None`."""
    if not isinstance(operation, keras.Layer):
        return None
    if isinstance(operation, keras.layers.Multiply):
        return "it leaves masked factors out"
    if not operation.supports_masking:
        return "a mask, which it drops with Keras's warning"
    return None


MASKS = {}  # class → function `(builder, layer, input, mask) -> list of masks of its outputs`


def mask_rule(*classes):
    """Registers how classes of layers (not their subclasses) hand masks on, said in torch.

    The function is called with the first input's `Value` and the node of its mask, or `None`.
    """

    def register(function):
        for layer_class in classes:
            MASKS[layer_class] = function
        return function

    return register


def masks_after(builder, node, args, kwargs):
    """The nodes of the masks that a layer's outputs have, as `Layer.__call__` finds them.

    Returns:
        list of nodes, `None` for an output without a mask.
    """
    layer = node.operation
    first = args[0] if args else next(iter(kwargs.values()), None)
    count, nothing = len(node.outputs), [None] * len(node.outputs)
    given = kwargs.get("mask")
    if isinstance(given, Value):
        previous = given.node
    else:
        previous = keras.tree.map_structure(
            lambda value: value.mask if isinstance(value, Value) else None, first
        )
    masked = any(mask is not None for mask in keras.tree.flatten(previous))
    known = MASKS.get(class_of(layer))
    if known is not None:
        found = known(builder, layer, first, previous)
        return [*found, *nothing][:count]
    if keras_internals.only_passes_mask_on(layer):
        passes = masked and layer.supports_masking and isinstance(first, Value)
        return [previous, *nothing][:count] if passes else nothing
    if not layer.supports_masking:
        return nothing
    if not masked:
        if len(keras.tree.flatten(first)) != len(node.input_tensors):
            return nothing  # called with constants besides: nothing that would make a mask of none
        # Most layers with a `compute_mask` of their own make no mask out of none: ask once.
        symbolic = keras.tree.pack_sequence_as(first, list(node.input_tensors))
        if layer.compute_mask(symbolic, previous) is None:
            return nothing
    nodes = keras.tree.map_structure(
        lambda value: builder.keras_order(value) if isinstance(value, Value) else value, first
    )
    call = builder.call(MaskCall(layer), nodes, previous)
    return [call] if count == 1 else [builder.call(mask_at, call, index) for index in range(count)]


def mask_at(masks, index):
    """The `index`-th of what `compute_mask` returned, `None` where it says nothing of it."""
    flat = [] if masks is None else keras.tree.flatten(masks)
    return flat[index] if index < len(flat) else None


class MaskCall:
    """Calls a layer's `compute_mask`; it has a name for the generated code."""

    def __init__(self, layer):
        self.layer = layer
        self.__name__ = self.__qualname__ = f"mask_of_{_safe(layer.name)}"
        self.__module__ = __name__

    def __call__(self, inputs, previous):
        return self.layer.compute_mask(inputs, previous)
