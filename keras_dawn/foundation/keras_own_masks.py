"""What a layer's own `compute_mask` says, with symbolic tensors."""

from keras_dawn.foundation import keras_layers, keras_masks
from keras_dawn.foundation.keras_symbols import TraceError

import keras


def masks_before(arguments):
    """The masks that the symbolic tensors of a call have before it, by the tensors' ids."""
    tensors = [x for x in keras.tree.flatten(arguments) if isinstance(x, keras.KerasTensor)]
    masks = {id(tensor): keras_masks.mask_of(tensor) for tensor in tensors}
    return {key: mask for key, mask in masks.items() if mask is not None}


def own_masks(layer, arguments, before, outputs, watch):
    """The masks that a layer's own `compute_mask` gives its outputs, flat; `None` without one.

    Keras calls it after `call`, with the first argument and the mask that was given by name, or
    those that the first argument had.

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
        raise TraceError("masks that layers inside give its outputs, beside its `compute_mask`")
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
