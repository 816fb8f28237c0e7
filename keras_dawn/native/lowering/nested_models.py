"""Models inside a graph of layers: their own graphs in place of the call."""

import contextlib
import copy

from keras_dawn.foundation import keras_layers, keras_models, keras_variables
from keras_dawn.native.lowering.checked_sizes import checked
from keras_dawn.native.lowering.masks import dropping_masks
from keras_dawn.native.lowering.values import Value

import keras


@contextlib.contextmanager
def inside_model(builder, model, args, kwargs):
    """The `Functional` of a nested model and the values of its inputs; two `None` if it has none.

    Inside, weights are read in the model's scope of dtypes.
    """
    inner = keras_models.functional_graph(model)
    if inner is None or not keras_layers.is_only_its_call(model):
        yield None, None
        return
    keras_models.note_graph(model, builder.reads)
    values = _inner_inputs(builder, model, inner, args, kwargs)
    around = builder.autocast
    builder.autocast = keras_variables.dtype_inside(model, around)
    try:
        yield inner, values
    finally:
        builder.autocast = around


def _inner_inputs(builder, model, inner, args, kwargs):
    """The values that a nested model is called with, in the order of its inputs, or `None`.

    Args:
        builder: `GraphBuilder`.
        model: the nested model.
        inner: its `Functional`.
        args, kwargs: what it is called with.
    """
    structure, mask = args[0] if args else kwargs.get("inputs"), kwargs.get("mask")
    flat = keras_models.match_inputs(inner, structure)
    ranks = [len(tensor.shape) for tensor in inner.inputs]
    if not all(isinstance(v, Value) for v in flat) or [v.rank for v in flat] != ranks:
        return None
    masks = [value.mask for value in flat]
    # Its layers see the masks all the same, but whoever attached them is warned.
    warned = dropping_masks(builder, model, flat)
    if mask is not None:
        masks = [one.node if isinstance(one, Value) else one for one in keras.tree.flatten(mask)]
    # As Keras converts them: whole numbers too, to what the nested model's input says.
    flat = [
        copy.copy(builder.to(value, tensor.dtype))
        for value, tensor in zip(warned, inner.inputs, strict=True)
    ]
    for value, one in zip(flat, masks, strict=True):
        builder.masks.set(value, one)
    return flat


def given_to(functional, node):
    """The `KerasTensor`s that a nested model is called with, in the order of its inputs.

    Args:
        functional: its `Functional`.
        node: the call's; one without arguments is of one tensor.
    """
    if node.arguments is None:
        return list(node.input_tensors)
    args, kwargs = node.arguments.args, node.arguments.kwargs
    return keras_models.match_inputs(functional, args[0] if args else kwargs.get("inputs"))


def checked_sizes(builder, model, functional, values, given):
    """The values that a nested model is called with, refused where Keras refuses their sizes.

    A `Functional` checks them in every call, a `Sequential` in none. Sizes that only a batch has
    are looked at when it comes.

    Args:
        builder: `GraphBuilder`.
        model: the nested model.
        functional: its `Functional`.
        values: list of `Value`, what it is called with.
        given: list of `KerasTensor`, the same.

    Raises:
        LoweringError: of known sizes.
    """
    if isinstance(model, keras.Sequential):
        return values
    return [
        checked(builder, value, x.shape, (None, *made.shape[1:]), model.name, squeezes=True)
        for value, x, made in zip(values, given, functional.inputs, strict=True)
    ]


def fits_graph(given, functional):
    """Whether the sizes that a graph has noted hold for such inputs.

    A `Sequential` that is built when it is first called has the sizes of that call in it, the
    batch's too; Keras's checks let unknown sizes pass for any.

    Args:
        given: list of `KerasTensor`.
        functional: Keras's `Functional`.
    """
    return all(
        size is None or size == found
        for x, made in zip(given, functional.inputs, strict=True)
        for size, found in zip(made.shape, x.shape, strict=True)
    )


def knows_more(given, functional):
    """Whether sizes of such inputs are known that are open in a graph."""
    return any(
        size is None and found is not None
        for x, made in zip(given, functional.inputs, strict=True)
        for size, found in zip(made.shape, x.shape, strict=True)
    )
