"""Keras's own layers, operations and functions as nodes of the lowered graph."""

from keras_dawn.native import keras_internals
from keras_dawn.native.lowering.graph import Value, _safe
from keras_dawn.native.lowering.layouts import AS_IS

import keras
import torch

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
WRITABLE = (type(None), type(...), bool, int, float, str, torch.fx.Node, torch.dtype)


def why_as_it_is(operation):
    """Why only Keras's own call of a layer or operation does what it does, or `None`."""
    if any(getattr(operation, hooks, None) for hooks in HOOKS):
        return "it has hooks"
    if any(name in vars(operation) for name in ("call", "forward")):
        return "its call was replaced"
    if getattr(operation, "lora_enabled", False) or getattr(operation, "quantization_mode", None):
        return "LoRA or quantisation"
    if keras_internals.remat_mode(operation) is not None:
        return "rematerialisation"
    return None


def call_keras(builder, operation, args, kwargs=None):
    """The node of a call of a Keras layer, operation or function, on tensors in Keras's order.

    Args:
        builder: `GraphBuilder`.
        operation: what is called.
        args, kwargs: what it is called with, `Value`s in place of tensors.
    """

    def argument(value):
        return builder.keras_order(value) if isinstance(value, Value) else value

    args, kwargs = keras.tree.map_structure(argument, (args, kwargs or {}))
    variables = operation.variables if isinstance(operation, keras.Layer) else ()
    attributes = [builder.share(variable, AS_IS) for variable in variables]
    name = title(operation)
    if all(_writable(part) for part in (*args, kwargs)):
        return builder.call(KerasCall(operation, attributes), *args, name=name, **kwargs)
    nodes = []

    def slot(value):
        if not isinstance(value, torch.fx.Node):
            return value
        nodes.append(value)
        return Slot(len(nodes) - 1)

    arguments = keras.tree.map_structure(slot, (args, kwargs))
    return builder.call(KerasCall(operation, attributes, arguments), *nodes, name=name)


def title(operation):
    """What to call a layer, an operation or a function."""
    named = getattr(operation, "name", None), getattr(operation, "__name__", None)
    return next((name for name in named if isinstance(name, str)), type(operation).__name__)


class KerasCall:
    """Calls a Keras layer, operation or function; it has a name for the generated code.

    Args:
        operation: what is called.
        attributes: names of the module's parameters that a layer's variables are.
        arguments: `(args, kwargs)` with a `Slot` for each tensor, where the code cannot say
            them (an array, an object); then the tensors are what this is called with.
    """

    def __init__(self, operation, attributes=(), arguments=None):
        self.operation = operation
        self.attributes = attributes
        self.arguments = arguments
        self.__name__ = self.__qualname__ = f"keras_{_safe(title(operation))}"
        self.__module__ = __name__

    def __call__(self, *args, **kwargs):
        if self.arguments is not None:
            tensors = args

            def fill(part):
                return tensors[part.number] if isinstance(part, Slot) else part

            args, kwargs = keras.tree.map_structure(fill, self.arguments)
        return self.operation(*args, **kwargs)


class Slot:
    """The place of a tensor among a `KerasCall`'s arguments."""

    def __init__(self, number):
        self.number = number


def getitem(outputs, index):
    """The `index`-th of several outputs, flat."""
    return keras.tree.flatten(outputs)[index]


def _writable(argument):
    """Whether generated code can say an argument."""
    if type(argument) in (tuple, list):
        return all(_writable(part) for part in argument)
    if type(argument) is dict:
        return all(type(key) is str and _writable(part) for key, part in argument.items())
    if type(argument) is slice:
        return all(_writable(part) for part in (argument.start, argument.stop, argument.step))
    return type(argument) in WRITABLE or isinstance(argument, torch.fx.Node)
