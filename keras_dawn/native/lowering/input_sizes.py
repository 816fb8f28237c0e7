"""The sizes that layers and models take: looked at in each batch where only that has them."""

from keras_dawn.native.lowering.checked_sizes import checked
from keras_dawn.native.lowering.values import Value

import keras


def checked_arguments(builder, node, args, kwargs):
    """`(args, kwargs)` of a layer, looked at where it takes one size alone of an open axis.

    Keras looks at them in every call, and when a graph is made at the sizes that are known then.

    Args:
        builder: `GraphBuilder`.
        node: the call's.
        args, kwargs: what is called with, `Value`s in place of tensors.

    Raises:
        LoweringError: of known sizes.
    """
    layer = node.operation
    specs = keras.tree.flatten(layer.input_spec) if isinstance(layer, keras.Layer) else [None]
    first = args[0] if args else next(iter(kwargs.values()), None)
    given = keras.tree.flatten(first)
    named = isinstance(first, dict) or (not args and len(given) != len(node.input_tensors))
    if named or not all(isinstance(value, Value) for value in given):
        return args, kwargs  # which of them is which is not known, or some are left out
    found = {}
    for spec, value, x in zip(specs, given, node.input_tensors, strict=False):
        if spec is None:
            continue
        expected = [None] * value.rank
        shape = (spec.shape or ())[: value.rank]
        for axis, size in {**dict(enumerate(shape)), **(spec.axes or {})}.items():
            expected[axis] = size
        squeezes = spec.allow_last_axis_squeeze
        before = found.get(id(value), value)
        found[id(value)] = checked(builder, before, x.shape, tuple(expected), layer.name, squeezes)
    if not found:
        return args, kwargs
    return keras.tree.map_structure(lambda part: found.get(id(part), part), (args, kwargs))


def checked_inputs(builder, model, functional, values, given):
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
