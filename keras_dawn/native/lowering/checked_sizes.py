"""Sizes that a layer or a model is not for are refused, those of a batch when it comes."""

from keras_dawn.native.lowering.values import LoweringError


def checked(builder, value, shape, expected, name, squeezes=False):
    """A value, looked at in every batch where some of its sizes are known only then.

    Args:
        builder: `GraphBuilder`.
        value: `Value`.
        shape: tuple of int and `None`, what is known of its sizes.
        expected: tuple of int and `None`, the sizes that the layer or model says.
        name: str, the layer's or model's name.
        squeezes: bool, whether a last axis of one number counts for none, as a `Functional` has it.

    Raises:
        LoweringError: of known sizes.
    """
    check_sizes(shape, expected, name, squeezes)
    pairs = zip(shape, expected, strict=True)
    if not any(size is None and one is not None for size, one in pairs):
        return value
    node = builder.call(of_sizes, builder.keras_order(value), expected, name, squeezes)
    looked_at = value.with_node(node, torch_order=False)
    builder.masks.set(looked_at, value.mask)
    return looked_at


def of_sizes(x, expected, name, squeezes=False):
    """A tensor, or `LoweringError` where a layer or model takes no input of its sizes."""
    check_sizes(x.shape, expected, name, squeezes)
    return x


def check_sizes(shape, expected, name, squeezes=False):
    """Raises `LoweringError` where a layer or model takes no input of a shape; see `checked`."""
    sizes, known = tuple(shape), tuple(expected)
    if squeezes:
        sizes, known = (s[:-1] if s and s[-1] == 1 else s for s in (sizes, known))
    for size, one in zip(sizes, known, strict=False):
        if size is not None and one is not None and size != one:
            raise LoweringError(
                f"{name} is for inputs of shape {tuple(expected)}, and it was given {tuple(shape)}"
            )
