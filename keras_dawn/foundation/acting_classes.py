"""Classes of the user's that compute as those of Keras's which they are made from."""

import types


def acting_class(kind):
    """Keras's class where one only says how its objects are made, or adds to it; else its own.

    Such a class computes as Keras's does: nothing that Keras's has is another one in it.

    Args:
        kind: class.

    Example:
        >>> import keras
        >>> acting_class(type("Own", (keras.layers.Dense,), {"note": "mine"})).__name__
        'Dense'
    """
    if kind.__module__.startswith("keras.src."):
        return kind
    keras_s = next((x for x in kind.__mro__ if x.__module__.startswith("keras.src.")), kind)
    own = kind.__mro__[: kind.__mro__.index(keras_s)]
    if (*own, *keras_s.__mro__) != kind.__mro__:
        return kind  # a class behind Keras's, which may come before its bases
    for base in own:
        for name, part in vars(base).items():
            if name not in _OF_MAKING and (hasattr(keras_s, name) or _answers(part)):
                return kind
    return keras_s


def _answers(part):
    """Whether what stands in a class may say what an attribute of an object is."""
    plain = types.FunctionType, staticmethod, classmethod
    return hasattr(type(part), "__get__") and not isinstance(part, plain)


_OF_MAKING = {
    "__init__", "__module__", "__qualname__", "__doc__", "__annotations__", "__dict__",
    "__weakref__", "__firstlineno__", "__static_attributes__", "get_config", "from_config",
    "_api_export_path", "_api_export_symbol_id",
}  # fmt: skip
