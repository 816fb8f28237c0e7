"""What a layer with Python of its own is called with, symbolically."""

from keras_dawn.foundation import keras_layers, keras_masks, keras_operations
from keras_dawn.native.lowering.arguments import cast, fill_in_masks, masks_of
from keras_dawn.native.lowering.masks import is_sure
from keras_dawn.native.lowering.values import LoweringError, Value

import keras
import torch


class OwnArguments:
    """The arguments of one call by name, and symbolic tensors in their place.

    Args:
        builder: `GraphBuilder`.
        node: the call's node of Keras's graph.
        args, kwargs: what is called with, `Value`s in place of tensors.

    Attributes:
        are_open: bool, whether sizes are not known.
        previous_masks: nodes of the masks that the outputs get where they have none, or `None`.

    Raises:
        LoweringError: there is more in it than tensors, what holds them, and settings.
    """

    def __init__(self, builder, node, args, kwargs):
        layer = node.operation
        given = _values((args, kwargs))
        if len(given) != len(node.input_tensors):
            raise LoweringError("no rule, and called with arrays")
        self._tensors = {}  # id of a `Value`, or of the node of a mask → KerasTensor in the graph
        for value, tensor in zip(given, node.input_tensors, strict=True):
            self._tensors[id(value)] = tensor
            self._check_mask(builder, layer, value, tensor)
        try:
            arguments = keras_operations.bound_arguments(layer, args, kwargs)
        except (TypeError, ValueError) as error:
            raise LoweringError(f"no rule, and {error}") from error
        self.previous_masks = keras.tree.flatten(_previous(arguments, args))
        self._arguments = keras.tree.map_structure(
            lambda part: self._cast(builder, layer, part), arguments
        )
        fill_in_masks(self._arguments)
        sizes = [size for tensor in node.input_tensors for size in tensor.shape]
        self.are_open = any(size is None for size in sizes)

    def _check_mask(self, builder, layer, value, tensor):
        if value.guessed:
            raise LoweringError("no rule, and an input whose dtype is known at run time only")
        if value.mask is None:
            return
        mask = keras_masks.mask_of(tensor)
        if mask is None and value.mask in builder.masks.ranks:
            shape = tensor.shape[: builder.masks.ranks[value.mask]]
            mask = keras.KerasTensor(shape, "bool")
        if not is_sure(value.mask) or mask is None:
            raise LoweringError("no rule, and a mask that is known at run time only")
        self._tensors[id(value.mask)] = mask

    def _cast(self, builder, layer, part):
        if not isinstance(part, Value) or not keras_layers.converts_inputs(layer):
            return part
        value = cast(builder, layer, part)
        self._tensors[id(value)] = self._tensors[id(part)]
        return value

    def symbols(self, batch=None, other=None):
        """`(arguments, [(KerasTensor, Value), …])` with sizes in place of open ones.

        Args:
            batch: int for an open first axis, or `None` to leave it open.
            other: int for other open axes.
        """
        made = {}

        def symbol(part):
            if not isinstance(part, (Value, torch.fx.Node)):
                return part
            if id(part) in made:
                return made[id(part)][0]
            is_mask = isinstance(part, torch.fx.Node)
            shape = sized(self._tensors[id(part)].shape, batch, other)
            value = Value(part, len(shape), "bool") if is_mask else part
            tensor = keras.KerasTensor(shape, value.dtype)
            made[id(part)] = (tensor, value)
            if value.mask is not None:
                keras_masks.attach_mask(tensor, symbol(value.mask))
            return tensor

        return keras.tree.map_structure(symbol, self._arguments), list(made.values())


def _values(structure):
    return [part for part in keras.tree.flatten(structure) if isinstance(part, Value)]


def _previous(arguments, args):
    """The masks that Keras gives the outputs: one that is given, else those of the first input."""
    if arguments.get("mask") is not None:
        return keras.tree.map_structure(
            lambda value: None if value is None else value.node, arguments["mask"]
        )
    first = args[0] if args else next(iter(arguments.values()), None)
    return masks_of(first)


def sized(shape, batch, other):
    """A shape with sizes in place of open ones: `batch` of the first, `other` of the rest."""
    if batch is None:
        return tuple(shape)
    full = [other if size is None else size for size in shape]
    return (batch, *full[1:]) if shape and shape[0] is None else tuple(full)
