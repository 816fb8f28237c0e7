"""What a layer is called with: the tensors, flat, and everything else that a lowering is for."""

from keras_dawn.foundation import keras_masks, keras_variables

import keras

TENSORS = keras_variables.TENSORS
_SETTINGS = (type(None), bool, int, float, str)


def tensors_of(args, kwargs):
    """The tensors of a call in their order, each followed by its mask if it has one.

    `None` where a call has other things in it than tensors, lists and tuples of them, and, by
    name, plain settings.
    """
    found = []
    for part in args:
        if not _collect(part, found, ()):
            return None
    for part in kwargs.values():
        if not _collect(part, found, _SETTINGS):
            return None
    return found


def _collect(part, found, settings):
    kind = type(part)
    if kind in TENSORS:
        found.append(part)
        mask = keras_masks.mask_of(part)
        if mask is None:
            return True
        found.append(mask)
        return type(mask) in TENSORS
    if kind in (list, tuple):
        return all(_collect(each, found, ()) for each in part)
    return part is None or kind in settings


def described(part, open_sizes=False):
    """The part of a call that a lowering is made for, as a key: another one needs another lowering.

    Args:
        part: an argument of a call.
        open_sizes: bool, whether only a tensor's first and last axis count.
    """
    kind = type(part)
    if kind in TENSORS:
        sizes = part.shape[1:]
        if open_sizes and len(sizes) > 1:
            sizes = (*[None] * (len(sizes) - 1), sizes[-1])
        mask = keras_masks.mask_of(part)
        mask = None if mask is None else described(mask, open_sizes)
        return (part.ndim, sizes, part.dtype, part.device, mask)
    if kind in (list, tuple):
        return (kind, *[described(each, open_sizes) for each in part])
    return (kind, part)


def symbolic(part, open_sizes=False):
    """An argument with `KerasTensor`s in place of tensors; the batch's size is left open."""
    if type(part) not in TENSORS:
        if type(part) in (list, tuple):
            return type(part)(symbolic(each, open_sizes) for each in part)
        return part
    shape = list(part.shape)
    if shape:
        # The lowering then serves every batch size, the last and smaller batch too.
        shape[0] = None
    if open_sizes:
        shape[1:-1] = [None] * len(shape[1:-1])
    tensor = keras.KerasTensor(shape, keras.backend.standardize_dtype(part.dtype))
    mask = keras_masks.mask_of(part)
    if mask is not None:
        keras_masks.attach_mask(tensor, symbolic(mask, open_sizes))
    return tensor


def unmask(numbers, flat):
    """Takes the masks off a call's tensors, by their numbers among those that are no masks.

    Args:
        numbers: list of int.
        flat: what `tensors_of` gives.
    """
    places, place = [], 0
    while place < len(flat):
        masked = keras_masks.mask_of(flat[place]) is not None
        places.append(place)
        place += 1 + masked
    for number in numbers:
        keras_masks.attach_mask(flat[places[number]], None)
