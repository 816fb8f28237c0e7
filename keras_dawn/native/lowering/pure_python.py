"""Whether a layer's Python only combines layers and `keras.ops`, read from its bytecode.

Such a `call` does the same at every step, so the calls that it makes can be noted once. What it
reads on the way (attributes of the layer, globals) is noted with its value, since a change makes
another call of it. Whatever is not known to be harmless is doubtful: the calls can be noted as long
as it does not run.
"""

import dataclasses
import types

from keras_dawn.foundation import keras_layer_call, keras_layers
from keras_dawn.native.lowering.harmless import ImpureError, check_held
from keras_dawn.native.lowering.reading import Reading

import keras


@dataclasses.dataclass
class Doubts:
    """What is not known to be pure in the Python of a layer and of those inside it.

    Args:
        instructions: what a `Watch` takes.
        reads_masks: bool, whether the layer's own Python may read or set masks of tensors.
        reached: list of the layers that it may call by itself.
    """

    instructions: dict
    reads_masks: bool = False
    reached: list = dataclasses.field(default_factory=list)


def doubts_of(layer, reads, sizes_are_open, notes_losses):
    """The `Doubts` about a layer's `call` and those inside it.

    Args:
        layer: built Keras layer with a `call` of its own.
        reads: `Reads`, which notes what the Python reads.
        sizes_are_open: bool, whether sizes of its inputs are not known.
        notes_losses: bool, whether a loss that it adds is noted with its calls.

    Raises:
        ImpureError: nothing that it calls could be noted.
    """
    doubts = Doubts({})
    for each in keras_layers.all_layers(layer):
        kind = keras_layers.class_of(each)
        if kind is keras.layers.Lambda or not isinstance(each, keras.Layer):
            raise ImpureError(f"a {kind.__name__} inside it")
        if keras_layers.computes_as_keras_s(each):
            continue
        if not keras_layer_call.is_ordinary(each) or not keras_layers.is_plain_call(each):
            raise ImpureError(f"{kind.__name__} changes what Keras does around its `call`")
        reads.note(kind, "call", kind.call)
        if not isinstance(kind.call, types.FunctionType):
            raise ImpureError(f"{kind.__name__}.call is no function")
        reading = Reading(each, reads, doubts.instructions, notes_losses)
        reading.function(kind.call)
        if keras_layers.has_own_masks(each):
            reading.masks(each)
        reading.judge_comparisons(sizes_are_open)
        check_held(each, reading.reached)
        if each is layer:
            doubts.reads_masks, doubts.reached = reading.reads_masks, reading.reached
    return doubts


def doubts_of_function(function, reads):
    """The `Doubts` about a function of tensors; `ImpureError` as above."""
    doubts = Doubts({})
    reading = Reading(None, reads, doubts.instructions)
    reading.function(function, is_method=False)
    reading.judge_comparisons(sizes_are_open=True)
    return doubts
