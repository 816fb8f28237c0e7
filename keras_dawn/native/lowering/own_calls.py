"""Layers of one's own whose Python only combines layers and `keras.ops`, lowered with them.

The calls that such a `call` makes are noted by running it on symbolic tensors: for the sizes that
the graph leaves open, and for several sizes each, which have to give the same calls. A number that
follows the size of the batch would be another one at every step; only the one axis of a reshape
that is left to be found from the rest may be such. Where all sizes are known, once is enough.
"""

import copy

from keras_dawn.foundation import keras_layers, keras_masks, keras_trace
from keras_dawn.foundation.keras_layer_call import why_not_ordinary
from keras_dawn.native.lowering.harmless import ImpureError
from keras_dawn.native.lowering.layouts import AS_IS
from keras_dawn.native.lowering.masks import MaskDropped, first_of, is_sure
from keras_dawn.native.lowering.own_arguments import OwnArguments, sized
from keras_dawn.native.lowering.pure_python import doubts_of, doubts_of_function
from keras_dawn.native.lowering.reads import Reads
from keras_dawn.native.lowering.trace_operators import check_changed, check_scalars
from keras_dawn.native.lowering.trace_sizes import SizesError, compare
from keras_dawn.native.lowering.values import LoweringError, Value
from keras_dawn.native.lowering.watched import Watch, place_of_error, said_by

import keras
import torch

# Sizes in place of open ones, of the batch and of any other axis: one, even, odd, large.
_SIZES = ((1, 67), (2, 97), (83, 130), (5003, 4099))


class OwnCalls:
    """What a layer's own Python calls, and on which values.

    Args:
        builder: `GraphBuilder`.
        node: the call's node of Keras's graph.
        args, kwargs: what it is called with, `Value`s in place of tensors.
        training: bool, or `None` where nobody is told the mode.
        in_scope: bool, whether the layer is sure to be called where an autocast scope is open.

    Attributes:
        nodes: calls of Keras's, in an order in which they can run.
        values: dict of `Value`s by the ids of the `KerasTensor`s that are known before.
        outputs: what `call` returns, `KerasTensor`s in place of tensors.
        losses: list of `KerasTensor`s that it adds to the loss.

    Raises:
        LoweringError: it may do more, or something else at another step; the message says why.
    """

    def __init__(self, builder, node, args, kwargs, training, in_scope):
        self._layer, self._in_scope = node.operation, in_scope
        layer = self._layer
        self._reads = builder.reads
        self._arguments = OwnArguments(builder, node, args, kwargs)
        try:
            notes_losses = builder.losses is not None
            self._doubts = _checked(layer, builder.reads, self._arguments.are_open, notes_losses)
            found, inputs = self._trace(training)
            for sizes in _SIZES if self._arguments.are_open else ():
                sized, sized_inputs = self._trace(training, *sizes)
                compare(found, [x for x, _ in inputs], sized, [x for x, _ in sized_inputs])
            check_scalars(found.nodes)
        except ImpureError as error:
            raise LoweringError(f"no rule, and Python of its own: {error}") from error
        except (keras_trace.TraceError, SizesError) as error:
            raise LoweringError(f"no rule, and Python that cannot be noted: {error}") from error
        self.nodes, self.outputs, self.losses = found.nodes, found.outputs, found.losses
        self._masks = found.masks
        self._inputs = [symbol for symbol, _ in inputs]
        self.values = {id(symbol): value for symbol, value in inputs}
        self._made = {id(x) for x, part in found.constants if isinstance(part, torch.Tensor)}
        for symbol, part in found.constants:
            self.values[id(symbol)] = _constant(builder, symbol, part)

    def _trace(self, training, batch=None, other=None):
        arguments, inputs = self._arguments.symbols(batch, other)
        watch = Watch(self._doubts.instructions, ImpureError, keras_trace.NODE_CODE)
        try:
            found = keras_trace.trace(
                self._layer, arguments, training, watch, self._in_scope, self._doubts.reached
            )
        except (keras_trace.TraceError, SizesError, ImpureError):
            raise
        except Exception as error:  # of the user's Python, which is not made for symbolic tensors
            name = type(error).__name__
            message = f"{name} with symbolic tensors: {said_by(error)}{place_of_error(error)}"
            raise SizesError(message) from error
        check_changed(found, watch.changed, watch.nodes)
        self._changed = watch.changed
        return found, inputs

    def check_masks(self):
        """Raises `LoweringError` where Python that reads masks saw others than there will be.

        Also where it changes a tensor with a mask in place, which keeps it; as symbols they are two
        tensors, of which the second has none. To be called once the calls have been lowered, which
        says what masks there will be.
        """
        changed = [self.values.get(id(symbol)) for symbol in self._changed]
        if any(value is not None and value.mask is not None for value in changed):
            raise LoweringError("no rule, and an operator that changes a masked tensor in place")
        if not self._doubts.reads_masks:
            return
        symbols = [*self._inputs, *(x for node in self.nodes for x in node.input_tensors)]
        for node in self.nodes:
            if isinstance(node.operation, keras.Layer):
                symbols += node.outputs
        for symbol in symbols:
            value = self.values.get(id(symbol))
            mask = None if value is None else value.mask
            if (mask is None) != (keras_masks.mask_of(symbol) is None):
                raise LoweringError("no rule, and it reads masks that a layer sets or takes off")
            if mask is not None and not is_sure(mask):
                raise LoweringError("no rule, and it reads a mask that is known at run time only")

    def results(self, builder):
        """The outputs' `Value`s with their masks, flat, once the calls have been lowered."""
        found = [symbol for symbol in keras.tree.flatten(self.outputs) if symbol is not None]
        results = [copy.copy(self.values[id(symbol)]) for symbol in found]
        for value, symbol in zip(results, found, strict=True):
            if id(symbol) in self._made:  # what comes after may change it in place
                value.node = builder.call(torch.clone, value.node)
            mask = keras_masks.mask_of(symbol)
            if value.mask is None and mask is not None and keras_trace.set_by_hand(symbol):
                value.mask = self.values[id(mask)].node
            if value.mask is not None and mask is not None:
                rank = len(mask.shape)
                if tuple(mask.shape) == tuple(symbol.shape[:rank]):
                    builder.masks.ranks[value.mask] = rank
        if self._reads.attribute(self._layer, "supports_masking"):
            for value, mask in zip(results, self._masks_after(builder, results), strict=False):
                value.mask = first_of(builder, value.mask, mask)
            # A tensor that is returned twice keeps the first mask that it is given.
            masks = {}
            for value, symbol in zip(results, found, strict=True):
                masks[id(symbol)] = first_of(builder, masks.get(id(symbol)), value.mask)
            for value, symbol in zip(results, found, strict=True):
                value.mask = masks[id(symbol)]
        else:
            given = [mask for mask in self._arguments.previous_masks if mask is not None]
            for value in results[:1] if given else ():
                # Layers inside have seen the masks; Keras warns that those after it will not.
                value.node = builder.call(MaskDropped(self._layer), value.node, given[0])
        for value in results:
            builder.masks.set(value, value.mask)  # which layers after it may take off
        return results

    def _masks_after(self, builder, results):
        """Nodes of masks for the outputs that get none of a layer inside, or `None`, flat."""
        if not keras_layers.has_own_masks(self._layer):
            return self._arguments.previous_masks
        if self._masks is not None:
            return [
                None if mask is None else builder.keras_order(self.values[id(mask)])
                for mask in self._masks
            ]
        if not all(value.mask is not None and is_sure(value.mask) for value in results):
            raise LoweringError("no rule, and masks of layers inside it, known at run time only")
        return []


def why_not_combined(layer):
    """Why a built layer's Python may not be lowered with the layers it calls, or `None`."""
    if keras_layers.computes_as_keras_s(layer):
        return "no rule"
    try:
        _checked(layer, Reads(), sizes_are_open=False, notes_losses=True)
    except ImpureError as error:
        return f"no rule, and Python of its own: {error}"
    return None


def _checked(layer, reads, sizes_are_open, notes_losses):
    """The `Doubts` about a layer; `ImpureError` unless it does no more than its `call`."""
    reason = why_not_ordinary(layer, own_masks=True)
    if reason is not None:
        raise ImpureError(reason)
    return doubts_of(layer, reads, sizes_are_open, notes_losses)


def _constant(builder, symbol, part):
    """The `Value` of a variable, in the dtype in which the layer reads it, or of a tensor."""
    if not isinstance(part, keras.Variable):
        return builder.value(part)
    node = builder.parameter(part, AS_IS, symbol.dtype)
    return Value(node, len(part.shape), symbol.dtype)


def calls_of_function(builder, function, value, shape):
    """`(nodes, values, output)` of a function of one tensor, as `OwnCalls` has them.

    Args:
        builder: `GraphBuilder`.
        function: of the user's, such as an activation.
        value: `Value` that it is called with.
        shape: tuple, the tensor's; `None` for sizes that are not known.
    """
    try:
        doubts = doubts_of_function(function, builder.reads)
        found = None
        for sizes in ((None, None), *_SIZES):
            symbol = keras.KerasTensor(sized(shape, *sizes), value.dtype)
            watch = Watch(doubts.instructions, ImpureError, keras_trace.NODE_CODE)
            traced = keras_trace.trace_function(function, symbol, watch)
            check_changed(traced, watch.changed, watch.nodes)
            if found is None:
                found, values = traced, {id(symbol): value}
                first = symbol
            compare(found, [first], traced, [symbol])
        check_scalars(found.nodes)
    except Exception as error:  # of the user's Python, too
        raise LoweringError(f"Python that cannot be noted: {error}") from error
    if not isinstance(found.outputs, keras.KerasTensor) or found.outputs.shape != tuple(shape):
        raise LoweringError("another shape")
    return found.nodes, values, found.outputs
