"""Keras's masks in a lowered graph: who makes them, who passes them on."""

import copy
import warnings

from keras_dawn.foundation import keras_layers, keras_masks
from keras_dawn.native.lowering.arguments import masks_of
from keras_dawn.native.lowering.names import identifier
from keras_dawn.native.lowering.values import Value

import keras


def may_mask(operation, arguments):
    """Whether the outputs of a layer that is called as it is may have masks at run time."""
    if not isinstance(operation, keras.Layer):
        return False
    values = [v for v in keras.tree.flatten(arguments) if isinstance(v, Value)]
    return (
        any(value.mask is not None for value in values)
        or not keras_layers.only_passes_mask_on(operation)
        or bool(keras_layers.inner_layers(operation))
    )


def is_sure(mask):
    """Whether the mask of a node is there in every run."""
    known_at_run_time = (keras_masks.mask_of, keras_masks.mask_left)
    return type(mask.target) is not MaskCall and mask.target not in known_at_run_time


def first_of(builder, mask, other):
    """The node of a mask, or of another where there is none, also at run time only."""
    if mask is None or other is None or is_sure(mask):
        return other if mask is None else mask
    return builder.call(given_or, mask, other)


def given_or(mask, other):
    """A mask, or another in its place where it is `None`."""
    return other if mask is None else mask


def why_mask_is_read(operation):
    """Why a layer whose input has a mask has to be called as it is, or `None`."""
    if not isinstance(operation, keras.Layer):
        return None
    if keras_layers.inner_layers(operation) and not operation.supports_masking:
        return "its inner layers see the mask of its input"
    if keras_layers.takes(operation, "mask"):
        return "it reads the mask, which its input only has at run time"
    return None


def dropping_masks(builder, layer, inputs):
    """The inputs of a layer that does not support masks: at run time it warns, as Keras does."""
    masked = isinstance(layer, keras.Layer) and any(value.mask is not None for value in inputs)
    if not masked or builder.reads.attribute(layer, "supports_masking"):
        return inputs
    warned = []
    for value in inputs:
        if value.mask is not None:
            masked, value = value, copy.copy(value)
            value.node, value.mask = (
                builder.call(MaskDropped(layer), masked.node, masked.mask),
                None,
            )
        warned.append(value)
    return warned


def mask_after(builder, node, args, kwargs):
    """The node of the mask that a layer's output has, as `Layer.__call__` finds it, or `None`.

    A mask that is given explicitly counts in place of the input's.
    """
    layer = node.operation
    first = args[0] if args else next(iter(kwargs.values()), None)
    previous = keras.tree.map_structure(builder.tensor, kwargs.get("mask"))
    if previous is None:
        previous = masks_of(first)
    masked = any(mask is not None for mask in keras.tree.flatten(previous))
    if keras_layers.only_passes_mask_on(layer):
        passes = masked and isinstance(first, Value)
        return previous if passes and builder.reads.attribute(layer, "supports_masking") else None
    if not builder.reads.attribute(layer, "supports_masking"):
        return None
    if not masked:
        if len(keras.tree.flatten(first)) != len(node.input_tensors):
            return None  # called with constants besides: nothing that would make a mask of none
        # Most layers with a `compute_mask` of their own make no mask out of none: ask once.
        symbolic = keras.tree.pack_sequence_as(first, list(node.input_tensors))
        if layer.compute_mask(symbolic, previous) is None:
            return None
    nodes = keras.tree.map_structure(
        lambda value: builder.keras_order(value) if isinstance(value, Value) else value, first
    )
    return builder.call(MaskCall(layer), nodes, previous)


class MaskDropped:
    """Hands a tensor on whose mask ends here; it has a name for the generated code."""

    def __init__(self, layer):
        self.title = f"'{layer.name}' (of type {type(layer).__name__})"
        self.__name__ = self.__qualname__ = f"{identifier(layer.name)}_drops"
        self.__module__ = __name__

    def __call__(self, tensor, mask):
        if mask is not None:
            warnings.warn(  # it begins as Keras's own, for the filters that are set for that
                f"Layer {self.title} was passed an input with a mask attached to it, and does "
                "not support masks: layers after it will see none.",
                stacklevel=1,  # one line for all graphs: it is shown once, as Keras's is
            )
        return tensor


class MaskCall:
    """Calls a layer's `compute_mask`; it has a name for the generated code."""

    def __init__(self, layer):
        self.layer = layer
        self.__name__ = self.__qualname__ = f"mask_of_{identifier(layer.name)}"
        self.__module__ = __name__

    def __call__(self, inputs, previous):
        return self.layer.compute_mask(inputs, previous)
