"""Calls of Keras layers and operations as they are, inside a lowered graph; and their masks."""

from keras_dawn.native import keras_internals
from keras_dawn.native.lowering.graph import AS_IS, Value

import keras


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
        for variable in operation.variables:
            builder.parameter(variable, AS_IS)
    function = KerasCall(operation, training, restated)
    if any(mask is not None for mask in masks):
        call = builder.call(
            MaskedCall(function), tuple(masks), *args, name=operation.name, **kwargs
        )
    else:
        call = builder.call(function, *args, name=operation.name, **kwargs)
    if len(node.outputs) == 1:
        nodes = [call]
    else:
        nodes = [builder.call(getitem, call, index) for index in range(len(node.outputs))]
    values = [
        Value(item, len(tensor.shape), tensor.dtype)
        for item, tensor in zip(nodes, node.outputs, strict=True)
    ]
    if is_layer and _may_mask(operation, masks):
        for value in values:
            value.mask = builder.call(keras_internals.mask_of, value.node)
    return values


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
    """Calls a Keras layer or operation; a name and a `repr` for the generated code.

    Args:
        operation: Keras layer or operation.
        training: bool, the mode of the graph.
        restated: bool, whether a layer before has restated the mode: Keras keeps in its call
            context what the last layer with a `training` argument was told.
    """

    def __init__(self, operation, training, restated=False):
        self.operation = operation
        self.training = training
        self.restated = restated
        self.__name__ = self.__qualname__ = f"keras_{operation.name}"
        self.__module__ = __name__

    def __call__(self, *args, **kwargs):
        if keras_internals.current_call_context() is None and isinstance(
            self.operation, keras.Layer
        ):
            # The module is used by itself: the layer still has to know the mode.
            with keras_internals.inside_call(self.operation, self.training):
                return self.operation(*args, **kwargs)
        if self.restated:
            keras_internals.set_mode(self.training)
        return self.operation(*args, **kwargs)


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
        self.__name__ = self.__qualname__ = f"mask_of_{layer.name}"
        self.__module__ = __name__

    def __call__(self, inputs, previous):
        return self.layer.compute_mask(inputs, previous)


def getitem(outputs, index):
    """The `index`-th of several outputs, flat."""
    return keras.tree.flatten(outputs)[index]
