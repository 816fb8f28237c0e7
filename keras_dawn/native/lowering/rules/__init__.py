"""One small rule for each layer class: how the layer is written in torch.

A rule is a function `(builder, layer, inputs, call) -> Value`, where `inputs` is the list
of the layer's input `Value`s and `call` a `Call`. It raises `LoweringError` for a
configuration that it does not cover; the layer is then called as it is. A rule of your own:

    @keras_dawn.native.rule(MyScale)
    def my_scale(builder, layer, inputs, call):
        (x,) = inputs
        scale = builder.parameter(layer.scale, AS_IS)
        return Value(builder.call(torch.mul, builder.keras_order(x), scale), x.rank, x.dtype)

Such a rule is for calls with tensors alone, and its layer hands an input's mask on. A rule that is
registered with `arguments=True` takes every call: `call.arguments` has what `call` is told, by
name, the masks that Keras fills in among it, and it may return a list of `Value`s. With
`masks=True` it also says itself which masks its outputs have (`Value.mask`).
"""

from dataclasses import dataclass, field

from keras_dawn.foundation import keras_layers

RULES = {}
_CALLS = {}  # what a class's `call` was when its rule was registered
_TRAITS = {}  # rule → whether it takes all arguments, whether it says what the masks are


@dataclass(frozen=True)
class Call:
    """How a layer is called at one place of the graph.

    Args:
        name: str, for the node.
        training: bool, the mode that holds here.
        args, kwargs: what the layer is called with, `Value`s in place of tensors.
        output: the `KerasTensor` that the call returns (the first, if several).
        shapes: shapes of the input `KerasTensor`s, `None` for unknown sizes.
        arguments: dict by name of all arguments with their defaults, floats cast as the layer
            does it; a mask that Keras fills in is a node. Only for rules that take them.
    """

    name: str
    training: bool
    args: tuple
    kwargs: dict
    output: object
    shapes: list
    arguments: dict = field(default_factory=dict)


def rule(*classes, arguments=False, masks=False):
    """Registers a function as the rule of layer classes (not of their subclasses).

    Args:
        classes: layer classes; one that Keras does not export as a string, `"module.Class"`.
        arguments: bool, whether the rule takes calls with any arguments, and reads them.
        masks: bool, whether the rule says what masks the outputs have.
    """

    def register(function):
        for layer_class in classes:
            RULES[layer_class] = function
            _CALLS[layer_class] = getattr(layer_class, "call", None)
        _TRAITS[function] = (arguments, masks)
        return function

    return register


def find_rule(operation):
    """The rule of a layer or operation, or `None`."""
    own = keras_layers.class_of(operation)
    kind = own if own in RULES else keras_layers.acts_as(operation)
    if kind in _CALLS and kind.call is not _CALLS[kind]:
        return None  # somebody gave the class another `call`
    return RULES.get(kind) or RULES.get(f"{kind.__module__}.{kind.__qualname__}")


def takes_arguments(function):
    """Whether a rule takes calls with any arguments."""
    return _TRAITS.get(function, (False, False))[0]


def says_masks(function):
    """Whether a rule says what masks the outputs have."""
    return _TRAITS.get(function, (False, False))[1]
