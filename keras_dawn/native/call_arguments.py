"""The arguments of a `fit`, `evaluate` or `predict` by name, whatever signature a class gave it."""

import functools
import inspect

import keras


def arguments_of(model, name, args, kwargs):
    """What a method of the model's class is called with, by name.

    A class may bring its own `fit` with other arguments: what it passes on as `**kwargs`, or as
    `*args`, has the names of Keras's own.
    """
    signature = _signature_of(model, name)
    try:
        bound = signature.bind(model, *args, **kwargs)
    except TypeError as error:  # it does not say of which function
        raise TypeError(f"{type(model).__name__}.{name}() {error}") from None
    arguments = {}
    for key, value in bound.arguments.items():
        kind = signature.parameters[key].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            plain = _signature(getattr(keras.Model, name)).parameters
            # What `*args` holds follows on what the class's own arguments took.
            unnamed = [each for each in plain if each not in ("self", *arguments)]
            arguments.update(zip(unnamed, value, strict=False))
        else:
            arguments[key] = value
    del arguments[next(iter(signature.parameters))]  # the model itself
    return arguments


def takes_callbacks(model, name):
    """Whether a method of the model's class takes callbacks, or hands on what it is given."""
    parameters = _signature_of(model, name).parameters
    kinds = {each.kind for each in parameters.values()}
    return "callbacks" in parameters or inspect.Parameter.VAR_KEYWORD in kinds


def _signature_of(model, name):
    method, plain = getattr(type(model), name), getattr(keras.Model, name)
    return _signature(plain) if method is plain else inspect.signature(method)


@functools.cache
def _signature(method):
    """The signature of one of Keras's methods, which takes long to find out."""
    return inspect.signature(method)
