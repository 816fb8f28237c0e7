"""Keras's own layers, operations and functions as what generated code calls."""

from keras_dawn.foundation import keras_context, keras_variables
from keras_dawn.native.lowering.names import identifier

import keras
import torch


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
        training: bool, the mode of the graph. Keras keeps in its call context what the last layer
            was told, and tells every layer of a graph the graph's mode, `training` argument or not.
        autocast: dtype of the scope around it, or `None`: what a layer with `autocast=False` finds.

    Attributes:
        followed: bool, whether another layer of the graph is told the mode afterwards.
        alone: bool, whether one tensor comes of it, maybe in a list.
    """

    def __init__(self, operation, attributes=(), arguments=None, training=False, autocast=None):
        self.operation = operation
        self.attributes = attributes
        self.arguments = arguments
        self.training = training
        self.autocast = autocast
        self.followed = self.alone = False
        self.__name__ = self.__qualname__ = f"keras_{identifier(title(operation))}"
        self.__module__ = __name__

    def filled_in(self, args, kwargs):
        """The arguments of a call, with the tensors in their places."""
        if self.arguments is None:
            return args, kwargs

        def fill(part):
            return args[part.number] if isinstance(part, Slot) else part

        return keras.tree.map_structure(fill, self.arguments)

    def __call__(self, *args, **kwargs):
        args, kwargs = self.filled_in(args, kwargs)
        if not isinstance(self.operation, keras.Layer):
            return self.operation(*args, **kwargs)
        if keras_context.current_call_context() is None:
            # The module is used by itself: the layer still has to know the mode.
            with keras_context.told_mode(self.operation, self.training):
                return self._called(args, kwargs)
        keras_context.set_mode(self.training)
        outputs = self._called(args, kwargs)
        if self.followed:  # the layer may have told those inside it another mode, which stays
            keras_context.set_mode(self.training)
        return outputs

    def _called(self, args, kwargs):
        with keras_variables.scope_of_dtype(self.autocast):
            return self.out_of_its_list(self.operation(*args, **kwargs))

    def out_of_its_list(self, outputs):
        """The one tensor, or the outputs as they are where there are several."""
        if not self.alone or isinstance(outputs, torch.Tensor):
            return outputs
        return keras.tree.flatten(outputs)[0]


class OperationCall(KerasCall):
    """Calls what an operation of `keras.ops` computes in torch."""

    def __call__(self, *args, **kwargs):
        args, kwargs = self.filled_in(args, kwargs)
        return self.out_of_its_list(self.operation.call(*args, **kwargs))


class Slot:
    """The place of a tensor among a `KerasCall`'s arguments."""

    def __init__(self, number):
        self.number = number
