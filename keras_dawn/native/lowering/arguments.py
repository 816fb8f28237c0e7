"""What a layer's `call` is told: arguments by name, cast, with the masks that Keras fills in."""

from keras_dawn.foundation import keras_layers, keras_operations
from keras_dawn.native.lowering.values import LoweringError, Value

import keras


def call_arguments(builder, operation, args, kwargs):
    """The arguments of a call as `Layer.__call__` hands them to `call`, without `training`.

    A mask that Keras takes from an input is the input's mask node (or a structure of them);
    one that is given explicitly is a `Value` like any other tensor.

    Args:
        builder: `GraphBuilder`.
        operation: Keras layer or operation.
        args, kwargs: what it is called with, `Value`s in place of tensors.

    Raises:
        LoweringError: arguments that `call` does not take, or a structure that mixes tensors
            with other objects.
    """
    try:
        arguments = keras_operations.bound_arguments(operation, args, kwargs)
    except (TypeError, ValueError) as error:
        raise LoweringError(str(error)) from error
    if not isinstance(operation, keras.Layer):
        return arguments
    if keras_layers.converts_inputs(operation):
        arguments = keras.tree.map_structure(lambda part: cast(builder, operation, part), arguments)
    fill_in_masks(arguments)
    return arguments


def cast(builder, layer, part):
    """An argument as a layer's autocast leaves it, its mask with it."""
    if not isinstance(part, Value):
        return part
    value = builder.cast(part, layer.input_dtype)
    if value is not part:
        builder.masks.set(value, part.mask)
    return value


def fill_in_masks(arguments):
    """Puts the masks of inputs where nothing else was given, as `Layer.__call__` does."""
    tensors = {name: part for name, part in arguments.items() if _is_of_tensors(part)}
    if len(tensors) == 1:
        (part,) = tensors.values()
        if "mask" in arguments and arguments["mask"] is None:
            arguments["mask"] = masks_of(part)
        return
    for name, part in tensors.items():
        if f"{name}_mask" in arguments and arguments[f"{name}_mask"] is None:
            arguments[f"{name}_mask"] = masks_of(part)


def masks_of(part):
    """The mask nodes of an argument's tensors, in its structure."""
    return keras.tree.map_structure(
        lambda value: value.mask if isinstance(value, Value) else None, part
    )


def _is_of_tensors(part):
    if isinstance(part, Value):
        return True
    if not isinstance(part, (list, tuple, dict)) or not part:
        return False
    parts = [each for each in keras.tree.flatten(part) if each is not None]
    if not any(isinstance(each, Value) for each in parts):
        return False
    if not all(isinstance(each, Value) for each in parts):
        raise LoweringError("a structure of tensors and other things")
    return True
