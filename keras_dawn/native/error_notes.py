"""Says in an error where in a model's native code it came up."""

import linecache
import traceback

from keras_dawn.foundation.keras_layers import all_layers
from keras_dawn.native.lowering.names import identifier

_GENERATED = "<eval_with_key>"  # begins the file names of torch.fx's code
_BEGINS = "keras_dawn: in the native code of "


def note_line(error, model):
    """Adds to an error the line of the native code that it came from, and its layer.

    Keras says which layer it called; a lowered graph is one function, whose lines begin with the
    names of the layers.

    Args:
        error: exception, being handled.
        model: `keras.Model`, whose `fit`, `evaluate` or `predict` it ends.
    """
    if any(note.startswith(_BEGINS) for note in getattr(error, "__notes__", ())):
        return  # said by an `evaluate` within this `fit`
    lines = [
        linecache.getline(frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
        if frame.f_code.co_filename.startswith(_GENERATED)
    ]
    if not lines:
        return
    line = lines[-1].partition(";")[0].strip()  # the rest lets names go
    name = line.partition(" =")[0]
    layers = [layer for layer in all_layers(model) if identifier(layer.name) == name]
    what = f", layer {layers[0].name!r} ({type(layers[0]).__name__})" if layers else ""
    error.add_note(f"{_BEGINS}{model.name}{what}: {line}")
