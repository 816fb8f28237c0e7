"""Layers with Python of their own, called with less around it than `keras.Layer.__call__` does.

Where the Python only combines layers and `keras.ops`, it is lowered with them (a `Part`). Keras's
call binds signatures, walks structures and looks for masks each time: about 60 µs, of which nothing
is left to do where tensors of the layer's dtype come without a mask. There the layer's `call` runs
right away, in the same context. Every other call goes to Keras's own.
"""

from keras_dawn.foundation import keras_layers
from keras_dawn.foundation.keras_layer_call import ShortCall
from keras_dawn.foundation.swapped_classes import class_with_call
from keras_dawn.native.lowering import why_not_combined
from keras_dawn.native.steps.parts import EMPTY, Part


class OwnLayer:
    """A built layer or subclassed model whose calls are shortened.

    Args:
        layer: Keras layer that `keras_layer_call.is_ordinary`.

    Attributes:
        part: `Part` of what its Python combines, or `None`.
        reason: str, why there is none, or `None`.
    """

    def __init__(self, layer):
        self.layer = layer
        self.base = keras_layers.class_of(layer)
        self.reason = why_not_combined(layer)
        self.part = Part(layer) if self.reason is None else None
        self.swapped = class_with_call(self.base, self._make_call())

    def _make_call(self):
        owner, base, call, part = self.layer, self.base, ShortCall(self.layer), self.part

        def __call__(layer, *args, **kwargs):  # noqa: N807
            # A copy made inside a step has this class too, and is another layer.
            if layer is owner:
                # What was refused in this mode is tried again when an epoch begins.
                if part is not None and kwargs.get("training") not in part.refused_modes:
                    outputs = part.compute(args, kwargs)
                    if outputs is not EMPTY:
                        return outputs
                if call.suits(args, kwargs):
                    return call(args, kwargs.get("training"))
            return base.__call__(layer, *args, **kwargs)

        return __call__
