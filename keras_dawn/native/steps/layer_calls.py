"""What a layer is called with: the tensors, flat, and everything else that a lowering is for."""

from keras_dawn.foundation import keras_masks, keras_variables

import keras

TENSORS = keras_variables.TENSORS
EMPTY = object()  # in place of outputs that another way has to compute
_SETTINGS = (type(None), bool, int, float, str)


def tensors_of(args, kwargs):
    """The tensors of a call in their order, each followed by its mask if it has one.

    `None` where a call has other things in it than tensors, lists, tuples and dicts of them, and,
    by name, plain settings; also where a tensor in a dict has a mask.
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
    if kind is dict:
        if not part or not all(type(key) is str for key in part):
            return False
        parts = part.values()
        return all(_collect(x, found, ()) for x in parts) and not any(map(_has_mask, parts))
    return part is None or kind in settings


def _has_mask(part):
    return any(keras_masks.mask_of(x) is not None for x in keras.tree.flatten(part))


# Which sizes of tensors a lowering is for.
ALL, ALL_BUT_BATCH, LAST = "all", "all but the first", "the last"


def described(part, sizes_of=ALL_BUT_BATCH):
    """The part of a call that a lowering is made for, as a key: another one needs another lowering.

    Args:
        part: an argument of a call.
        sizes_of: which sizes of a tensor count: `ALL`, `ALL_BUT_BATCH` or the `LAST` axis's.
    """
    kind = type(part)
    if kind in TENSORS:
        sizes = part.shape if sizes_of is ALL else part.shape[1:]
        if sizes_of is LAST and len(sizes) > 1:
            sizes = (*[None] * (len(sizes) - 1), sizes[-1])
        mask = keras_masks.mask_of(part)
        mask = None if mask is None else described(mask, sizes_of)
        return (part.ndim, sizes, part.dtype, part.device, mask)
    if kind in (list, tuple):
        return (kind, *[described(each, sizes_of) for each in part])
    if kind is dict:  # Python may go through it in its own order
        return (kind, *[(key, described(each, sizes_of)) for key, each in part.items()])
    return (kind, part)


def described_call(args, kwargs, sizes_of):
    """`described` for all arguments of a call, a list."""
    parts = [described(part, sizes_of) for part in args]
    if kwargs:
        parts += [(name, described(part, sizes_of)) for name, part in kwargs.items()]
    return parts


def symbolic(part, sizes_of=ALL_BUT_BATCH):
    """An argument with `KerasTensor`s in place of tensors; sizes that do not count are open."""
    if type(part) not in TENSORS:
        if type(part) in (list, tuple):
            return type(part)(symbolic(each, sizes_of) for each in part)
        if type(part) is dict:
            return {key: symbolic(each, sizes_of) for key, each in part.items()}
        return part
    shape = list(part.shape)
    if shape and sizes_of is not ALL:
        # The lowering then serves every batch size, the last and smaller batch too.
        shape[0] = None
    if sizes_of is LAST:
        shape[1:-1] = [None] * len(shape[1:-1])
    tensor = keras.KerasTensor(shape, keras.backend.standardize_dtype(part.dtype))
    mask = keras_masks.mask_of(part)
    if mask is not None:
        keras_masks.attach_mask(tensor, symbolic(mask, sizes_of))
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
