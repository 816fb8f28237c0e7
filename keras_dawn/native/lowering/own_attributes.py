"""The attributes of a layer that its own Python reads."""

import types

from keras_dawn.foundation import keras_layers, keras_properties
from keras_dawn.native.lowering.harmless import (
    OF_CONTAINERS,
    OF_TENSORS,
    ImpureError,
    check_lookup,
    check_value,
    property_of,
)

import keras


def read_attribute(reading, chain):
    """Reads `self.a.b` in Python that is to combine layers and `keras.ops`; it is noted.

    Args:
        reading: `Reading`.
        chain: list of the attributes' names.

    Raises:
        ImpureError: it is no layer, constant or function, nor made of them.
    """
    value, layer = reading.layer, reading.layer
    for place, name in enumerate(chain):
        if name in OF_CONTAINERS and place and isinstance(value, (list, tuple, dict)):
            if name in ("append", "extend"):
                raise ImpureError(f"{'.'.join(chain)} changes the layer")
            frozen = place == 1 and chain[0] in vars(layer)
            for part in value.values() if isinstance(value, dict) else value:
                check_value(".".join(chain[:place]), part, reading.called, frozen)
                _reach(reading, part)
            return
        if place and isinstance(value, keras.Layer) and name in ("call", "__call__"):
            raise ImpureError(f"{'.'.join(chain)}, past the layer's own call")
        own = None if place else property_of(value, name)
        if own is not None and set(chain[1:]) <= OF_TENSORS:
            reading.reads.note(keras_layers.class_of(value), name, own)
            reading.function(own.fget)  # what it returns follows from what it reads
            return
        check_lookup(value, name)
        holder, value = value, reading.reads.attribute(value, name)
        if isinstance(value, types.MethodType) and value.__self__ is layer:
            if place < len(chain) - 1:
                raise ImpureError(f"{'.'.join(chain)}, an attribute of a method")
            if reading.notes_losses and value.__func__ is keras.Layer.add_loss:
                return
            reading.reads.note(type(layer), name, value.__func__)
            reading.method(name, value.__func__)
            return
        if name == "compute_mask" and place and isinstance(holder, keras.Layer):
            reading.masks(holder)
            return
        own = not place and keras_properties.holds(holder, name, value)
        if own and keras_layers.is_of_weights(value):  # symbolic while the calls are noted
            if not set(chain[1:]) <= OF_TENSORS:
                raise ImpureError(f"{'.'.join(chain)}, which symbolic tensors have others of")
            return
        if isinstance(value, types.FunctionType) and place == len(chain) - 1:
            # A static method, or a function that the layer was made with.
            reading.called(".".join(chain), value)
            return
    _reach(reading, value)
    frozen = len(chain) == 1 and chain[0] in vars(layer)
    check_value(".".join(chain), value, reading.called, frozen)


def _reach(reading, value):
    parts = keras.tree.flatten(value)
    reading.reached += [part for part in parts if isinstance(part, keras.Layer)]
