"""Calls of Keras layers and operations as they are, inside a lowered graph; and their masks."""

from keras_dawn.native import keras_internals
from keras_dawn.native.lowering.graph import Value, _safe
from keras_dawn.native.lowering.layouts import AS_IS

import keras
import torch


def call_as_it_is(builder, node, args, kwargs, training):
    """A call of the Keras layer or operation itself, on tensors in Keras's order.

    Returns:
        list of `Value`, one for each output.
    """
    operation = node.operation
    masks = []

    def argument(value):
        if not isinstance(value, Value):
            return value
        masks.append(value.mask)
        return builder.keras_order(value)

    args, kwargs = keras.tree.map_structure(argument, (args, kwargs))
    is_layer = isinstance(operation, keras.Layer)
    restated = False
    if is_layer:
        if keras_internals.takes(operation, "training"):
            kwargs = {**kwargs, "training": training}
        elif builder.mode_restated:
            restated = True
        builder.mode_restated = False
    call = _node_of_call(builder, operation, args, kwargs, (training, restated), masks)
    if len(node.outputs) == 1:
        nodes = [call]
    else:
        nodes = [builder.call(getitem, call, index) for index in range(len(node.outputs))]
    values = [
        Value(item, len(tensor.shape), tensor.dtype, guessed=True)
        for item, tensor in zip(nodes, node.outputs, strict=True)
    ]
    if is_layer and _may_mask(operation, masks):
        for value in values:
            value.mask = builder.call(keras_internals.mask_of, value.node)
    return values


def activation_as_it_is(builder, activation, value, training):
    """A call of an activation (a function, or a layer) of another layer; its `Value`."""
    takes = isinstance(activation, keras.Layer) and keras_internals.takes(activation, "training")
    kwargs = {"training": training} if takes else {}
    args = (builder.keras_order(value),)
    node = _node_of_call(builder, activation, args, kwargs, (training, False))
    return Value(node, value.rank, value.dtype, guessed=True)


def _node_of_call(builder, operation, args, kwargs, mode, masks=()):
    variables = operation.variables if isinstance(operation, keras.Layer) else ()
    attributes = [builder.share(variable, AS_IS) for variable in variables]
    function = KerasCall(operation, *mode, attributes)
    if not all(_is_sayable(part) for part in (*args, kwargs)):
        args, kwargs = function.keep(args, kwargs), {}
    name = title(operation)
    if any(mask is not None for mask in masks):
        return builder.call(MaskedCall(function), tuple(masks), *args, name=name, **kwargs)
    return builder.call(function, *args, name=name, **kwargs)


def _is_sayable(argument):
    """Whether generated code can say an argument: a tensor, a number, text, or some of them."""
    if type(argument) in (tuple, list):
        return all(_is_sayable(part) for part in argument)
    if type(argument) is dict:
        return all(type(key) is str and _is_sayable(part) for key, part in argument.items())
    if type(argument) is slice:
        return all(_is_sayable(part) for part in (argument.start, argument.stop, argument.step))
    return type(argument) in _SAYABLE or isinstance(argument, torch.fx.Node)


_SAYABLE = (type(None), type(...), bool, int, float, str, torch.dtype)


def title(operation):
    """What to call a layer, an operation or a function."""
    named = getattr(operation, "name", None), getattr(operation, "__name__", None)
    return next((name for name in named if isinstance(name, str)), type(operation).__name__)


def _may_mask(layer, masks):
    """Whether a layer's outputs may have masks at run time."""
    return (
        any(mask is not None for mask in masks)
        or not keras_internals.only_passes_mask_on(layer)
        or bool(keras_internals.inner_layers(layer))
    )


def mask_after(builder, node, args, kwargs):
    """The node of the mask that a layer's output has, as `Layer.__call__` finds it, or `None`."""
    layer = node.operation
    first = args[0] if args else next(iter(kwargs.values()), None)
    previous = keras.tree.map_structure(
        lambda value: value.mask if isinstance(value, Value) else None, first
    )
    masked = any(mask is not None for mask in keras.tree.flatten(previous))
    if keras_internals.only_passes_mask_on(layer):
        return previous if masked and layer.supports_masking and isinstance(first, Value) else None
    if not layer.supports_masking:
        return None
    if not masked:
        # Most layers with a `compute_mask` of their own make no mask out of none: ask once.
        symbolic = keras.tree.pack_sequence_as(first, list(node.input_tensors))
        if layer.compute_mask(symbolic, previous) is None:
            return None
    nodes = keras.tree.map_structure(
        lambda value: builder.keras_order(value) if isinstance(value, Value) else value, first
    )
    return builder.call(MaskCall(layer), nodes, previous)


class KerasCall:
    """Calls a Keras layer, operation or function; it has a name for the generated code.

    Args:
        operation: Keras layer, operation or function.
        training: bool, the mode of the graph.
        restated: bool, whether a layer before has restated the mode: Keras keeps in its call
            context what the last layer with a `training` argument was told.
        attributes: names of the module's parameters that a layer's variables are.
    """

    def __init__(self, operation, training, restated=False, attributes=()):
        self.operation = operation
        self.training = training
        self.restated = restated
        self.attributes = attributes
        self.arguments = None
        self.__name__ = self.__qualname__ = f"keras_{_safe(title(operation))}"
        self.__module__ = __name__

    def keep(self, args, kwargs):
        """Keeps arguments that generated code cannot say; returns the nodes among them.

        The call is then made with those alone.
        """
        nodes = []

        def slot(part):
            if not isinstance(part, torch.fx.Node):
                return part
            nodes.append(part)
            return Slot(len(nodes) - 1)

        self.arguments = keras.tree.map_structure(slot, (args, kwargs))
        return nodes

    def __call__(self, *args, **kwargs):
        if self.arguments is not None:
            tensors = args

            def fill(part):
                return tensors[part.number] if isinstance(part, Slot) else part

            args, kwargs = keras.tree.map_structure(fill, self.arguments)
        if keras_internals.current_call_context() is None and isinstance(
            self.operation, keras.Layer
        ):
            # The module is used by itself: the layer still has to know the mode.
            with keras_internals.inside_call(self.operation, self.training):
                return self.operation(*args, **kwargs)
        if self.restated:
            keras_internals.set_mode(self.training)
        return self.operation(*args, **kwargs)


class Slot:
    """The place of a tensor among the arguments that a `KerasCall` keeps."""

    def __init__(self, number):
        self.number = number


class MaskedCall:
    """A `KerasCall` on tensors with masks, which are attached as Keras attaches them."""

    def __init__(self, call):
        self.call = call
        self.__name__ = self.__qualname__ = f"masked_{call.__name__}"
        self.__module__ = __name__

    def __call__(self, masks, *args, **kwargs):
        tensors = [x for x in keras.tree.flatten((args, kwargs)) if keras.ops.is_tensor(x)]
        for tensor, mask in zip(tensors, masks, strict=False):
            if mask is not None:
                keras_internals.attach_mask(tensor, mask)
        return self.call(*args, **kwargs)


class MaskCall:
    """Calls a layer's `compute_mask`."""

    def __init__(self, layer):
        self.layer = layer
        self.__name__ = self.__qualname__ = f"mask_of_{_safe(layer.name)}"
        self.__module__ = __name__

    def __call__(self, inputs, previous):
        return self.layer.compute_mask(inputs, previous)


def getitem(outputs, index):
    """The `index`-th of several outputs, flat."""
    return keras.tree.flatten(outputs)[index]
