"""Masks of symbolic tensors: what a layer's `call` does to them, and its `compute_mask` says."""

from keras_dawn.foundation import keras_layers, keras_masks, keras_operations
from keras_dawn.foundation.keras_symbols import TraceError

import keras


def change_as_call_does(layer, outputs, args, kwargs):
    """Changes masks of symbolic tensors as a layer's `call` does, which was not run.

    Args:
        layer: Keras layer.
        outputs: what it returned.
        args, kwargs: what it was called with, `KerasTensor`s in place of tensors.
    """
    called = keras_layers.class_of(layer).call  # another one, of the user's, is run
    attends = called is keras.layers.MultiHeadAttention.call
    if not attends and called is not keras.layers.ReversibleEmbedding.call:
        return
    arguments = keras_operations.bound_arguments(layer, args, kwargs)
    if attends:
        first = keras.tree.flatten(outputs)[0]
        keras_masks.attach_mask(first, keras_masks.mask_of(arguments["query"]))
        for name in ("query", "value", "key"):
            if arguments[name] is not None and not _is_cast(layer, arguments[name]):
                keras_masks.attach_mask(arguments[name], None)
    elif not arguments["reverse"]:
        mask = keras.layers.Embedding.compute_mask(layer, arguments["inputs"])
        keras_masks.attach_mask(outputs, mask)


def _is_cast(layer, tensor):
    """Whether a layer's `call` gets another tensor than what the layer is called with."""
    floats = keras.backend.is_float_dtype(tensor.dtype)
    return floats and keras_layers.converts_inputs(layer) and tensor.dtype != layer.input_dtype


def masks_before(arguments):
    """The masks that the symbolic tensors of a call have before it, by the tensors' ids."""
    tensors = [x for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor)]
    masks = {id(tensor): keras_masks.mask_of(tensor) for tensor in tensors}
    return {key: mask for key, mask in masks.items() if mask is not None}


def own_masks(layer, arguments, before, outputs, watch):
    """The masks that a layer's own `compute_mask` gives its outputs, flat; `None` without one.

    Keras calls it after `call`, with the first argument and the mask that was given by name, or
    those that the first argument had, unless layers inside have given all outputs masks.

    Args:
        layer: Keras layer.
        arguments: dict of what it is called with by name, `KerasTensor`s in place of tensors.
        before: what `masks_before` found.
        outputs: what its `call` returned.
        watch: as for `trace`.

    Raises:
        TraceError: which masks there are is not known from this.
    """
    if not (keras_layers.has_own_masks(layer) and layer.supports_masking):
        return None
    flat = keras.tree.flatten(outputs)
    if all(keras_masks.mask_of(x) is not None for x in flat):
        return None
    first, previous = next(iter(arguments.values())), arguments.get("mask")
    if previous is None:
        previous = keras.tree.map_structure(lambda part: before.get(id(part)), first)
    found = watch.run(lambda: layer.compute_mask(first, previous), {})
    masks = [None] * len(flat) if found is None else keras.tree.flatten(found)
    if len(masks) != len(flat):
        raise TraceError("another number of masks than of outputs")
    if any(mask is not None and getattr(mask, "dtype", None) != "bool" for mask in masks):
        raise TraceError("a mask that is no tensor of bool")
    return masks
