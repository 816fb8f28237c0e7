"""One small rule for each layer class: how the layer is said in torch.

A rule is a function `(builder, layer, inputs, call) -> Value`, where `inputs` is the list
of the layer's input `Value`s and `call` a `Call`. It raises `LoweringError` for a
configuration that it does not cover; the layer is then called as it is. A rule of your own:

    @keras_dawn.native.rule(MyScale)
    def my_scale(builder, layer, inputs, call):
        (x,) = inputs
        scale = builder.parameter(layer.scale, AS_IS)
        return Value(builder.call(torch.mul, builder.keras_order(x), scale), x.rank, x.dtype)
"""

from dataclasses import dataclass

from keras_dawn.foundation import keras_internals

RULES = {}
_CALLS = {}  # what a class's `call` was when its rule was registered


@dataclass(frozen=True)
class Call:
    """How a layer is called at one place of the graph.

    Args:
        name: str, for the node.
        training: bool, the mode that holds here.
        args, kwargs: what the layer is called with, `Value`s in place of tensors.
        output: the `KerasTensor` that the call returns (the first, if several).
        shapes: shapes of the input `KerasTensor`s, `None` for unknown sizes.
    """

    name: str
    training: bool
    args: tuple
    kwargs: dict
    output: object
    shapes: list


def rule(*classes):
    """Registers a function as the rule of layer classes (not of their subclasses).

    A class that Keras does not export is given as a string, `"module.Class"`.
    """

    def register(function):
        for layer_class in classes:
            RULES[layer_class] = function
            _CALLS[layer_class] = getattr(layer_class, "call", None)
        return function

    return register


def find_rule(operation):
    """The rule of a layer or operation, or `None`."""
    kind = keras_internals.class_of(operation)
    if kind in _CALLS and kind.call is not _CALLS[kind]:
        return None  # somebody gave the class another `call`
    return RULES.get(kind) or RULES.get(f"{kind.__module__}.{kind.__qualname__}")
