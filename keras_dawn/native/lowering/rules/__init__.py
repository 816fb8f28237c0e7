"""One small rule for each layer class: how the layer is said in torch.

A rule is a function `(builder, layer, inputs, call) -> Value`, where `inputs` is the list
of the layer's input `Value`s and `call` a `Call`; where the layer has several outputs it returns
a list of them. It raises `LoweringError` for a
configuration that it does not cover; the layer is then called as it is. A rule of your own:

    @keras_dawn.native.rule(MyScale)
    def my_scale(builder, layer, inputs, call):
        (x,) = inputs
        scale = builder.parameter(layer.scale, AS_IS)
        return Value(builder.call(torch.mul, builder.keras_order(x), scale), x.rank, x.dtype)
"""

from dataclasses import dataclass

from keras_dawn.native.lowering.values import Value

import keras

RULES = {}
_CALLS = {}  # what a class's `call` was when its rule was registered
_ARGUMENTS = {}  # which arguments of `call` a rule knows besides the inputs


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


def rule(*classes, arguments=()):
    """Registers a function as the rule of layer classes (not of their subclasses).

    A class that Keras does not export is given as a string, `"module.Class"`. `arguments` are
    names of arguments of the layers' `call`, besides inputs and `training`, that the rule knows.
    """

    def register(function):
        for layer_class in classes:
            RULES[layer_class] = function
            _CALLS[layer_class] = getattr(layer_class, "call", None)
            _ARGUMENTS[layer_class] = frozenset(arguments)
        return function

    return register


def find_rule(operation):
    """The rule of a layer or operation, or `None`."""
    kind = class_of(operation)
    if kind in _CALLS and kind.call is not _CALLS[kind]:
        return None  # somebody gave the class another `call`
    return RULES.get(kind) or RULES.get(f"{kind.__module__}.{kind.__qualname__}")


def class_of(operation):
    """The class of a layer or operation, for one that is swapped for a step the real one."""
    kind = type(operation)
    return vars(kind).get("native_base", kind)


def known_arguments(operation):
    """The names of the arguments of `call` that a layer's rule knows besides the inputs."""
    return _ARGUMENTS.get(class_of(operation), frozenset())


def cast_arguments(call, inputs, names):
    """What a layer is called with, by name, with the cast `Value`s in it.

    Args:
        call: `Call`.
        inputs: list of the layer's `Value`s, as its rule gets them.
        names: the layer's arguments in the order of its `call`.
    """
    cast = iter(inputs)
    args, kwargs = keras.tree.map_structure(
        lambda part: next(cast) if isinstance(part, Value) else part, (call.args, call.kwargs)
    )
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    return {name: value for name, value in given.items() if value is not None}
